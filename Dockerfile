# Keywell in a container: the web server, the workers and management commands (docs/containers.md).
#
# BASE needs Python 3.11 to 3.14, on Debian or a distribution derived from it. deploy/debian-base makes one from Debian's
# packages alone.
ARG BASE=docker.io/library/python:3.14-slim

FROM ${BASE} AS build
RUN python3 -m ensurepip --version >/dev/null 2>&1 \
    || { apt-get update && apt-get install --yes --no-install-recommends python3-venv; }
COPY requirements.txt /opt/keywell/
RUN python3 -m venv /opt/keywell/.venv \
    && /opt/keywell/.venv/bin/pip install --no-cache-dir --only-binary :all: --require-hashes \
        --requirement /opt/keywell/requirements.txt \
    && /opt/keywell/.venv/bin/pip uninstall --yes pip
COPY . /opt/keywell
RUN /opt/keywell/.venv/bin/python -m compileall -q -x /\.venv/ /opt/keywell

FROM ${BASE}
COPY --from=build /opt/keywell /opt/keywell
WORKDIR /opt/keywell
ENV PATH=/opt/keywell/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NOSETPS=1 \
    DJANGO_SETTINGS_MODULE=portal.settings \
    KEYWELL_VAR=/var/lib/keywell
RUN install --directory --owner 10001 --group 10001 --mode 700 /var/lib/keywell
VOLUME /var/lib/keywell
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["python", "-m", "runtime.web", "--address", "0.0.0.0:8000"]
