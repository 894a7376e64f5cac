# An image that serves a model on a CPU, without torch: its packages take 0.3 GB.
#
#   docker build -t unroll .
#   docker run --read-only -p 127.0.0.1:8000:8000 unroll
#   docker run --read-only -p 127.0.0.1:8000:8000 -v "$PWD/exported:/model:ro" unroll /model --host 0.0.0.0

FROM python:3.11-slim AS wheel
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE /source/
COPY conf /source/conf
COPY src /source/src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel /source

FROM python:3.11-slim
COPY constraints.txt /
COPY --from=wheel /wheel /wheel
# unroll without its dependencies, which are those of training, and then what serving imports.
RUN pip install --no-cache-dir --no-deps /wheel/*.whl \
 && pip install --no-cache-dir --constraint /constraints.txt \
      fastapi httptools jinja2 numpy onnx onnxruntime rich safetensors tokenizers uvicorn \
 && rm -r /wheel
USER 65534:65534
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["unroll", "serve"]
CMD ["novel", "--host", "0.0.0.0"]
