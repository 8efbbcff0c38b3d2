"""Receives one connection of syslog over TLS, with the standard library's ssl. Says its port, reads to the end, keeps what came.

Arguments: certificate, key, file to keep it in, and `orderly` or `rude`: whether close_notify is answered.
"""
import socket
import ssl
import sys

certificate, key, keep, manner = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    plain, _ = listener.accept()
    try:
        stream = context.wrap_socket(plain, server_side=True)
    except (ssl.SSLError, OSError):
        continue  # It did not trust us.
    break
received = b""
while piece := stream.recv(65536):
    received += piece
with open(keep, "wb") as file:
    file.write(received)
if manner == "orderly":
    stream.unwrap()
stream.close()
