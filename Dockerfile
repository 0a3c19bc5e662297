# One image for the web server, the workers and the beat; docker-compose.yml says which is which.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CURATOR_HOME=/var/lib/curator STATIC_ROOT=/app/staticfiles
RUN useradd --create-home --uid 10001 curator \
    && install --directory --owner curator --group curator --mode 0700 /var/lib/curator
WORKDIR /app
COPY requirements.txt requirements-embedded.txt constraints.txt ./
ARG PIP_ARGS=""
RUN pip install --no-cache-dir $PIP_ARGS -r requirements.txt -c constraints.txt \
    && pip install --no-cache-dir $PIP_ARGS --require-hashes --no-deps -r requirements-embedded.txt
COPY . .
# a home of its own: what root makes in the real one, the user curator could not write
RUN CURATOR_HOME=/tmp/build SECRET_KEY=only-for-building python manage.py collectstatic --no-input \
    && rm -r /tmp/build
USER curator
VOLUME /var/lib/curator
EXPOSE 8000
CMD ["gunicorn", "curator.wsgi", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "8", "--access-logfile", "-"]
