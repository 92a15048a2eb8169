# raygen in a container, for one machine or as the image of a Ray cluster's nodes. It holds no model, no input and no key.
#
#   docker build -t raygen .                               for CPUs
#   docker build -t raygen:gpu --build-arg DEVICE=gpu .    for NVIDIA GPUs (the host needs NVIDIA's container toolkit)
#
#   docker run --rm --shm-size=2g -v "$PWD:/work" raygen run job.yaml
#   docker run --rm --shm-size=2g --gpus all -v "$PWD:/work" -v raygen-models:/home/raygen/.cache/raygen raygen:gpu run job.yaml
#
# It runs as the user 1000, for whom what is mounted has to be writable. Keys come from the environment at run time
# (-e OPENAI_API_KEY, without a value), never from the image. vLLM is not inside: it wants another transformers.
FROM python:3.11-slim

# cpu: PyTorch without CUDA. gpu: PyTorch as PyPI has it, with CUDA's libraries.
ARG DEVICE=cpu

RUN useradd --create-home --uid 1000 raygen \
    && install -d -o raygen -g raygen /work /home/raygen/.cache /home/raygen/.cache/raygen

COPY pyproject.toml setup.py constraints.txt README.md LICENSE /src/
COPY raygen /src/raygen
COPY jobs /src/jobs
RUN case "$DEVICE" in \
      cpu) python -m pip install --no-cache-dir -c /src/constraints.txt torch --index-url https://download.pytorch.org/whl/cpu ;; \
      gpu) ;; \
      *) echo "DEVICE is cpu or gpu, not $DEVICE" >&2; exit 1 ;; \
    esac \
    && python -m pip install --no-cache-dir -c /src/constraints.txt "/src[train]" \
    && rm -rf /src

USER raygen
WORKDIR /work
ENTRYPOINT ["raygen"]
CMD ["--help"]
