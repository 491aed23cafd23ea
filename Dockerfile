# Mission Bridge: `make image`, or `docker build -t mission-bridge .`
# A package index of your own: --secret id=pip.conf,src=pip.conf (it is in no layer).
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv /opt/pip && python -m venv --without-pip /opt/bridge
COPY requirements/run.lock requirements/build.lock requirements/
# The interpreter that runs the bridge gets wheels with known hashes alone; what builds is left behind.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.lock \
    && /opt/pip/bin/pip --python /opt/bridge/bin/python install --no-cache-dir --no-deps \
        --require-hashes --only-binary :all: -r requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY bridge bridge
RUN /opt/pip/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --no-index -w /wheels . \
    && /opt/pip/bin/pip --python /opt/bridge/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mission-bridge" \
      org.opencontainers.image.description="Telnyx AI Missions to Apache Kafka and back" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/bridge /opt/bridge
# All byte code is written above: the root file system may be read-only.
ENV PATH=/opt/bridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BRIDGE_OPS__HOST=0.0.0.0
USER 65532:65532
EXPOSE 9464
# The first signal drains; give it the time that docs/OPERATIONS.md says before SIGKILL (100 s).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=20s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('BRIDGE_OPS__PORT', '9464') + '/livez', timeout=8)"]
ENTRYPOINT ["mission-bridge"]
CMD ["run"]
