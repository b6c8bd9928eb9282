"""Logs in with paramiko, runs a command and moves a file: HOST PORT KEY KNOWN_HOSTS."""

import io
import sys

import paramiko

host, port, key, known_hosts = sys.argv[1:]
client = paramiko.SSHClient()
client.load_host_keys(known_hosts)
client.set_missing_host_key_policy(paramiko.RejectPolicy())
client.connect(
    host, int(port), "alice", key_filename=key, allow_agent=False, look_for_keys=False, timeout=20
)

stdin, stdout, stderr = client.exec_command("cat; echo err >&2; exit 7")
stdin.write("out")
stdin.channel.shutdown_write()
print(stdout.read().decode(), stderr.read().decode().strip(), stdout.channel.recv_exit_status())

sftp = client.open_sftp()
content = bytes(range(256)) * 4096
sftp.putfo(io.BytesIO(content), "/paramiko.bin")
with sftp.open("/paramiko.bin", "a") as f:
    f.write(b"more")
back = io.BytesIO()
sftp.getfo("/paramiko.bin", back)
print(back.getvalue() == content + b"more", sftp.stat("/paramiko.bin").st_size, sftp.listdir("/"))
client.close()
