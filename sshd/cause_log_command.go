package sshd

// causeCommand begins the IDs of what goes wrong with a keys command. They are
// no causes where the key is not to come from one of ours: an administrator's
// may fail as it likes.
const causeCommand = "keys-command-"

const (
	commandPathRemedy = "make it and each folder above it root's, writable by nobody else: chown root, chmod go-w"
	commandRunRemedy  = "see \"latchkey doctor\", and what it says itself: journalctl -t latchkey-authorized-keys"
)

// commandWordings are what sshd says of a keys command, and the command of
// itself. Of its words only the first is told: the key may be among the others.
var commandWordings = []said{
	{
		causeCommand + "unsafe", "", `Unsafe AuthorizedKeysCommand "([^"]*)": (.+)`,
		"sshd does not run $1: $2", commandPathRemedy,
	},
	{
		causeCommand + "missing", "", `Could not stat AuthorizedKeysCommand "([^"]*)": (.+)`,
		"sshd finds no $1: $2", "install latchkey again",
	},
	{
		causeCommand + "user", "", `AuthorizedKeysCommandUser "([^"]*)" not found`,
		"there is no account $1 to run AuthorizedKeysCommand", "make the account $1: useradd --system --shell /usr/sbin/nologin $1",
	},
	{
		causeCommand + "token", "", `percent_expand: unknown key (%.)`,
		"AuthorizedKeysCommand has $1, which this sshd does not know", "take $1 out of AuthorizedKeysCommand",
	},
	{
		causeCommand + "failed", "", `^latchkey-authorized-keys: ([ -~]+)$`,
		"AuthorizedKeysCommand: $1", commandRunRemedy,
	},
	{
		causeCommand + "failed", "", `AuthorizedKeysCommand exec(?:ve)? "([^ "]+).*": (.+)`,
		"$1 cannot be run: $2", "let everybody run it: chmod 755 $1",
	},
	{
		causeCommand + "failed", "", `AuthorizedKeysCommand (\S+)(?: .*)? failed, status (\d+)`,
		"$1 ended with status $2, so sshd took none of its keys", commandRunRemedy,
	},
	{
		causeCommand + "failed", "", `AuthorizedKeysCommand (\S+)(?: .*)? exited on signal (\d+)`,
		"$1 was ended by signal $2, so sshd took none of its keys", commandRunRemedy,
	},
}
