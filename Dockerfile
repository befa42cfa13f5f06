# The coordinator as `npm run package` makes it. Models, packed weights and the database live in volumes, not in the image.
# NODE_IMAGE: another Node, from 20.19 on, or the same from a registry of your own.
ARG NODE_IMAGE=node:22-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /source
COPY . .
RUN npm run package && npm install --global --prefix /install --no-audit --no-fund ./shoal-*.tgz

FROM ${NODE_IMAGE}
LABEL org.opencontainers.image.title="Shoal" \
  org.opencontainers.image.description="A mixture-of-experts language model whose experts live in other people's browser tabs" \
  org.opencontainers.image.licenses="Apache-2.0"
# With its dependencies, and owned by root: the coordinator writes to nothing but the volumes, which have to exist and belong to its
# user before a volume is laid over them.
COPY --from=build /install/lib/node_modules/shoal /shoal
RUN ln -s /shoal/bin/shoal.mjs /usr/local/bin/shoal \
  && useradd --system --uid 10001 --user-group --home-dir /cache --shell /usr/sbin/nologin shoal \
  && install -d -o shoal -g shoal /data /cache /models
USER shoal
WORKDIR /shoal
ENV NODE_ENV=production SHOAL_HOST=0.0.0.0 SHOAL_CACHE=/cache SHOAL_DATA=/data HF_HOME=/cache/hub
VOLUME ["/data", "/cache", "/models"]
EXPOSE 8787
# It answers from its start on, also while it packs and loads its model.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["node", "coordinator/bin/healthcheck.mjs"]
# The coordinator is this process itself, so the signal to stop reaches it and running answers can finish.
ENTRYPOINT ["shoal"]
CMD ["serve"]
