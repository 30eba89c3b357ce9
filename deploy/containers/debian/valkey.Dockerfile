FROM localhost/keywell-base-servers
RUN install -d -o valkey /data
WORKDIR /data
VOLUME /data
USER valkey
# As in the official image, every container in the network can connect.
ENTRYPOINT ["/bin/sh", "-c", "exec \"$@\" --protected-mode no", "--"]
CMD ["valkey-server"]
