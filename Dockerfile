# noisewise for the processor: docker build -t noisewise .
# Use: docker run --rm -v "$PWD:/data" noisewise denoise cells.tif
# For NVIDIA graphics cards: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 -t noisewise:cuda .
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/noisewise
COPY constraints.txt pyproject.toml README.md LICENSE ./
RUN pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
COPY src ./src
RUN pip install -c constraints.txt '.[formats]'
WORKDIR /data
ENV HOME=/tmp
ENTRYPOINT ["noisewise"]
CMD ["--help"]
