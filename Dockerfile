# The coordinator with its pages built. Models and packed weights live in volumes, not in the image.
FROM node:22-bookworm-slim AS build
WORKDIR /shoal
COPY . .
RUN npm ci --no-audit --no-fund && npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:22-bookworm-slim
WORKDIR /shoal
ENV NODE_ENV=production
COPY --from=build --chown=node:node /shoal /shoal
# All are mount points; they have to exist and belong to the user before a volume is laid over them.
RUN mkdir -p /cache /data /models && chown node:node /cache /data /models
USER node
ENV SHOAL_HOST=0.0.0.0 SHOAL_CACHE=/cache SHOAL_DATA=/data HF_HOME=/cache/hub
EXPOSE 8787
# It answers from its start on, also while it packs and loads its model.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["node", "coordinator/bin/healthcheck.mjs"]
# The coordinator is this process itself, so the signal to stop reaches it and running answers can finish.
CMD ["node", "coordinator/bin/shoal.mjs", "serve"]
