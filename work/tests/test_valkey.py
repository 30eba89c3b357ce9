import gc

from work.valkey import valkey


def test_a_client_that_is_collected_does_not_close_connections_in_use():
    # Two threads that ask for the first client at once each make one, and one of the clients is dropped.
    valkey.cache_clear()
    connection = valkey().connection_pool.get_connection()
    connection.send_command("PING")

    valkey.cache_clear()
    gc.collect()

    assert connection.read_response() in (b"PONG", "PONG")
    connection.disconnect()
