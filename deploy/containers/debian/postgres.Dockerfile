FROM localhost/keywell-base-servers
COPY postgres-entrypoint /
RUN ln -s /usr/lib/postgresql/*/bin /usr/local/postgresql && install -d -o postgres /var/lib/postgresql /var/run/postgresql
ENV PATH=/usr/local/postgresql:$PATH
VOLUME /var/lib/postgresql
USER postgres
STOPSIGNAL SIGINT
ENTRYPOINT ["/postgres-entrypoint"]
CMD ["postgres"]
