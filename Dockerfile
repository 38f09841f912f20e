# The images of the pipeline's steps, on Kubeflow or anywhere else. `make image` builds the first; by hand:
#
#   docker build --target cpu -t cxr-triage:cpu .        every step
#   docker build --target gpu -t cxr-triage:gpu .        the same, with the CUDA libraries, for the Trainer on an NVIDIA GPU
#   docker build --target beam -t cxr-triage:beam .      the same as the first, started by Beam's boot program: workers on Dataflow
#
# BASE_IMAGE is any Debian 13 with Python 3.11 as `python3.11` and its pip; where nothing can be pulled, `python -m scripts.images base` makes one.
# Behind package indexes of one's own, two secrets, neither of which stays in an image:
#   --secret id=index,src=FILE           shell assignments, e.g. UV_DEFAULT_INDEX=… PIP_INDEX_URL=… GOPROXY=…
#   --secret id=certificates,src=FILE    certificate authorities in the place of the base image's
ARG BASE_IMAGE=python:3.11-slim-trixie

# What installs, and what builds the few packages without wheels. Nothing of this stage but /opt is in an image.
FROM ${BASE_IMAGE} AS installer
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore UV_NO_CACHE=1 UV_NO_PROGRESS=1
WORKDIR /build
COPY requirements/uv.txt requirements/build.txt ./
COPY images/with_index /usr/local/bin/
RUN --mount=type=secret,id=index --mount=type=secret,id=certificates \
    with_index python3.11 -m pip install --no-cache-dir --require-hashes -r uv.txt \
    && python3.11 -m venv --without-pip /opt/venv

FROM installer AS packages
COPY requirements/image.txt ./
# Compiled here: containers of another user cannot keep what they compile, and would do it at every start.
RUN --mount=type=secret,id=index --mount=type=secret,id=certificates \
    with_index uv pip sync --python /opt/venv/bin/python --require-hashes --build-constraint build.txt --compile-bytecode image.txt

FROM installer AS cuda
COPY requirements/cuda.txt ./
RUN --mount=type=secret,id=index --mount=type=secret,id=certificates \
    with_index uv pip install --python /opt/venv/bin/python --require-hashes --no-deps --target /opt/cuda -r cuda.txt

# Beam's boot program asks for a newer Go than Debian 13 has; its backports have it.
FROM ${BASE_IMAGE} AS boot
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN find /etc/apt \( -name '*.list' -o -name '*.sources' \) -exec sed -E -i \
    -e 's/^(deb .* )trixie main$/&\n\1trixie-backports main/' -e '/^Suites: trixie( |$)/s/$/ trixie-backports/' {} + \
    && apt-get update && apt-get install -y --no-install-recommends ca-certificates golang-1.26-go && rm -rf /var/lib/apt/lists/*
COPY images/with_index /usr/local/bin/
WORKDIR /build
COPY images/boot ./
ENV PATH=/usr/lib/go-1.26/bin:$PATH GOTOOLCHAIN=local CGO_ENABLED=0 GOPATH=/tmp/go GOCACHE=/tmp/go/cache
RUN --mount=type=secret,id=index --mount=type=secret,id=certificates \
    with_index go build -mod=readonly -trimpath -ldflags='-s -w' -o /opt/boot github.com/apache/beam/sdks/v2/python/container \
    && rm -rf /tmp/go

FROM installer AS project
WORKDIR /opt/cxr-triage
COPY . .
RUN rm -r images requirements && python3.11 -m compileall -q .

FROM ${BASE_IMAGE} AS cpu
LABEL org.opencontainers.image.title="cxr-triage" \
      org.opencontainers.image.description="Chest X-ray triage pipeline. Research use only, not for clinical use." \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/cxr-triage PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=1 HOME=/tmp \
    KERAS_BACKEND=tensorflow KERAS_HOME=/dev/null
COPY --from=packages /opt/venv /opt/venv
COPY --from=project /opt/cxr-triage /opt/cxr-triage
WORKDIR /opt/cxr-triage
# A number: Kubernetes cannot tell of a name whether it is root's.
USER 10001:10001
ENTRYPOINT ["python", "-m", "pipeline"]
CMD ["--help"]

# One layer more: TensorFlow's wheel is the same, and finds the libraries beside it.
FROM cpu AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=cuda /opt/cuda /opt/venv/lib/python3.11/site-packages

FROM cpu AS beam
USER 0:0
# Boot installs what a job brings along (--setup_file) with pip and without being root. It has to win over the project that is here,
# which PYTHONPATH or the working folder would put first.
RUN python -m ensurepip \
    && echo /opt/cxr-triage > /opt/venv/lib/python3.11/site-packages/cxr-triage.pth \
    && chmod 1777 /opt/venv/bin /opt/venv/lib/python3.11/site-packages
# An environment that boot makes by itself would not see the packages of this one. And boot dies where its user has no name.
ENV PYTHONPATH="" RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 USER=worker
COPY --from=boot /opt/boot /opt/apache/beam/boot
WORKDIR /tmp
USER 10001:10001
ENTRYPOINT ["/opt/apache/beam/boot"]
CMD []
