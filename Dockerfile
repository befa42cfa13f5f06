# The coordinator with its pages built. Models and packed weights live in volumes, not in the image.
FROM node:22-bookworm-slim AS build
WORKDIR /shoal
COPY . .
RUN npm ci --no-audit --no-fund && npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:22-bookworm-slim
WORKDIR /shoal
ENV NODE_ENV=production
COPY --from=build --chown=node:node /shoal /shoal
# Both are mount points; they have to exist and belong to the user before a volume is laid over them.
RUN mkdir -p /cache /models && chown node:node /cache /models
USER node
ENV SHOAL_HOST=0.0.0.0 SHOAL_CACHE=/cache
EXPOSE 8787
# Where the coordinator listens: 0.0.0.0 and :: include 127.0.0.1.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "-e", "\
    const { SHOAL_HOST: host = '127.0.0.1', SHOAL_PORT: port = '8787' } = process.env;\
    const name = ['0.0.0.0', '::'].includes(host) ? '127.0.0.1' : host.includes(':') ? '[' + host + ']' : host;\
    fetch('http://' + name + ':' + port + '/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1));"]
# Without npm in between, so that the signal to stop arrives and running answers can finish.
CMD ["node", "coordinator/bin/shoal.mjs", "serve"]
