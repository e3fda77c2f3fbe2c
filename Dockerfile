# The base is Debian 12, a newer one, or a derivative: both stages take Python from it with apt-get,
# so that the interpreter is one file that Debian's security updates reach.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS builder
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
# pip runs from a venv of its own and installs into the other one, which therefore never holds pip.
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/modelarts-exporter
# pip's own variables, for a builder that has the wheels but no index in reach.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
WORKDIR /src
COPY constraints.txt LICENSE pyproject.toml README.md ./
COPY alerts alerts
COPY dashboards dashboards
COPY deploy deploy
COPY docs docs
COPY exporter exporter
RUN /pip/bin/pip --python /opt/modelarts-exporter/bin/python3 --no-cache-dir --disable-pip-version-check \
    install --constraint constraints.txt .

FROM ${BASE}
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
# 65532 is the "nonroot" of the distroless images. A number, because Kubernetes' runAsNonRoot cannot
# look a name up.
# OpenShift runs the image as a user that it chooses, always of group 0: so /data is that group's, and the
# setgid bit makes the files in it so too, whoever writes them.
RUN install --directory --owner=65532 --group=0 --mode=2770 /data \
    && install --directory /etc/modelarts-exporter
COPY --from=builder /opt/modelarts-exporter /opt/modelarts-exporter

ARG REVISION=unknown
LABEL org.opencontainers.image.title="modelarts-exporter" \
      org.opencontainers.image.description="Prometheus exporter for the deployments of ModelArts inference services" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
# The root file system may be read-only: bytecode was written at build time, and temporary files go to
# the one directory that can be written.
ENV PATH=/opt/modelarts-exporter/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/data \
    MODELARTS_EXPORTER_REVISION="${REVISION}"
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 10155
# 30 s: the default poll interval, the shortest time in which the answer can change. Override the
# check where a web config file asks for TLS or a password.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:10155/-/healthy', timeout=4)"]
ENTRYPOINT ["modelarts-exporter"]
CMD ["--config.file=/etc/modelarts-exporter/config.yml", "--storage.path=/data"]
