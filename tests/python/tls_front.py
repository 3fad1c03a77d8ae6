"""Speaks TLS before a server that does not, for tests of certificates.

    python tls_front.py CERTIFICATE PORT

listens on a free port of the loopback interface, prints it, and passes what comes on to PORT until it is ended.
"""
import socket
import ssl
import sys
import threading


def relay(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, target):
            end.close()


def serve(plain, context, port):
    try:
        client = context.wrap_socket(plain, server_side=True)
        server = socket.create_connection(("127.0.0.1", port))
    except OSError:
        plain.close()  # A client that does not trust the certificate goes away here.
        return
    threading.Thread(target=relay, args=(client, server), daemon=True).start()
    relay(server, client)


def main():
    certificate, port = sys.argv[1], int(sys.argv[2])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=serve, args=(plain, context, port), daemon=True).start()


main()
