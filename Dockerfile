# The default job, and every other command, in a container. Linted (hadolint), not built by CI.
#
#     docker build -t interpbench .
#     docker run --rm -v "$PWD/results:/work/results" interpbench
#     docker run --rm -v "$PWD:/work" interpbench explain photo.jpg
#
# torch comes from wheels without CUDA, which are about 4 GB smaller. For a GPU:
# --build-arg TORCH=https://download.pytorch.org/whl/cu130, and docker run --gpus all.
FROM python:3.12-slim

ARG TORCH=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH" "torch>=2.11" "torchvision>=0.26"

COPY pyproject.toml README.md LICENSE /source/
COPY interpbench /source/interpbench
COPY plugins /source/plugins
RUN pip install --no-cache-dir "/source[imagenet]" && useradd --uid 1000 --home-dir /work --create-home user

# Weights that are downloaded, and settings of libraries, are kept below HOME.
USER 1000
WORKDIR /work
ENTRYPOINT ["interpbench"]
CMD ["run"]
