"""A mail server on loopback that offers STARTTLS, wants a password, and prints
each letter as one line of JSON. Arguments: port, certificate, key."""
import asyncio, email, email.policy, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Printer:
    async def handle_DATA(self, server, session, envelope):
        m = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({"to": envelope.rcpt_tos, "from": envelope.mail_from, "subject": m["subject"],
                          "text": m.get_content(), "tls": session.ssl is not None}), flush=True)
        return "250 OK"


def login(server, session, envelope, mechanism, data):
    ok = isinstance(data, LoginPassword) and (data.login, data.password) == (b"qsuper", b"s3cret")
    return AuthResult(success=ok)


async def main(port, cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    make = lambda: SMTP(Printer(), hostname="mail.test", tls_context=context, require_starttls=True, authenticator=login, auth_required=True)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
