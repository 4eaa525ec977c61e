"""Model servers on real sockets, for tests of programs that send mail.

::

    server = ModelServer(extensions=("PIPELINING",), rules=[on("RCPT").reply(550, "5.1.1 no")])
    with serve(server) as served:
        send_mail(served.endpoint)          # "tcp://127.0.0.1:PORT"
    assert server.messages == []

With pytest, the fixtures ``smtp_server`` and ``lmtp_server`` start such servers
and stop them after the test.
"""

from smtpstate_testing._served import Served, serve

__all__ = ["Served", "serve"]
