# The worker, `beat` and `detector serve`: one image. Runs with a read-only root and a writable /tmp and /var/lib/detector.
FROM python:3.11.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
# Only what the worker needs, in the versions of the lock.
RUN /opt/build/bin/uv pip compile pyproject.toml --constraints requirements.lock --generate-hashes --quiet -o runtime.lock \
 && python -m venv /opt/detector && /opt/detector/bin/pip install --no-cache-dir --require-hashes -r runtime.lock
COPY detector detector
COPY models models
RUN /opt/build/bin/python -m build --wheel --no-isolation && /opt/detector/bin/pip install --no-cache-dir --no-deps dist/*.whl

FROM python:3.11.11-slim-bookworm
RUN useradd --uid 10001 --create-home --home-dir /var/lib/detector detector \
 && install -d -o 10001 /var/log/day-trade
COPY --from=build /opt/detector /opt/detector
ENV PATH=/opt/detector/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib \
    XDG_STATE_HOME=/var/lib/detector
WORKDIR /var/lib/detector
USER 10001:10001
CMD ["celery", "-A", "detector.app", "worker"]
