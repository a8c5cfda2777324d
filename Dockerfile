# The image of docker-compose.yml: server, worker, CLI and the bundled trainer.
# `deploy/image.sh` builds it without Docker, on a base of its own.
ARG BASE=python:3.12-slim-bookworm
FROM $BASE
ARG EXTRAS=all

# DeepSpeed builds its CPU optimizer on first use: compiler, headers and ninja.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/berth
# Dependencies first, so that a change of Berth's code does not fetch torch again.
COPY requirements/constraints.txt requirements/constraints.txt
RUN [ "$EXTRAS" != all ] \
    || pip install --no-cache-dir -c requirements/constraints.txt torch deepspeed transformers accelerate
COPY . .
RUN pip install --no-cache-dir -c requirements/constraints.txt ".[$EXTRAS]"

ENV BERTH_HOME=/var/lib/berth PYTHONUNBUFFERED=1
VOLUME /var/lib/berth
EXPOSE 8787
CMD ["berth", "up"]
