FROM localhost/keywell-base-servers
ENV XDG_CONFIG_HOME=/data/config XDG_DATA_HOME=/data
VOLUME /data
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
