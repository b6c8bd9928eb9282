"""Logs in with asyncssh, runs a command and moves a file: HOST PORT KEY KNOWN_HOSTS."""

import asyncio
import sys

import asyncssh

host, port, key, known_hosts = sys.argv[1:]


async def main():
    async with asyncssh.connect(
        host,
        int(port),
        username="alice",
        client_keys=[key],
        known_hosts=known_hosts,
        agent_path=None,
        config=None,
    ) as client:
        done = await client.run("cat; echo err >&2; exit 7", input="out")
        print(done.stdout, done.stderr.strip(), done.exit_status)
        async with client.start_sftp_client() as sftp:
            content = bytes(range(256)) * 4096
            async with sftp.open("/asyncssh.bin", "wb") as f:
                await f.write(content)
            async with sftp.open("/asyncssh.bin", "ab") as f:
                await f.write(b"more")
            async with sftp.open("/asyncssh.bin", "rb") as f:
                back = await f.read()
            names = sorted(name for name in await sftp.listdir("/") if name.strip("."))
            print(back == content + b"more", (await sftp.stat("/asyncssh.bin")).size, names)


asyncio.run(asyncio.wait_for(main(), 30))
