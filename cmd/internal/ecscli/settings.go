package ecscli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// settings are what the flags say of whom to call, and as whom.
type settings struct {
	endpoint, region, profile, accessKeyID, secretFile string
}

func (s *settings) addFlags(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&s.endpoint, "endpoint", "", "the API's `URL`; of the cloud in the region if not given")
	flags.StringVar(&s.region, "region", "", "the region's `id`, such as cn-hangzhou")
	flags.StringVar(&s.profile, "profile", "", "`name` of the profile, before the environment")
	flags.StringVar(&s.accessKeyID, "access-key-id", "", "the access key's `id`")
	flags.StringVar(&s.secretFile, "access-key-secret-file", "", "`file` with the access key's secret")
	_ = cmd.RegisterFlagCompletionFunc("profile", completeProfiles)
	for _, name := range []string{"endpoint", "region", "access-key-id"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}

// account is what one source says: the environment, or a profile.
type account struct {
	from             string // where it is, for a person
	file             string // with a secret in it; empty for the environment
	region, endpoint string
	credentials      ecsclient.Credentials
}

// environment has the names of the official SDKs. These have none for the endpoint: ours comes first, so that it can
// name a region of one's own without leading other tools there; then the one of the cloud's Terraform provider.
func environment() account {
	return account{
		from:     "the environment",
		region:   os.Getenv("ALIBABA_CLOUD_REGION_ID"),
		endpoint: cmp.Or(os.Getenv("LATCHKEY_ECS_ENDPOINT"), os.Getenv("ALIBABA_CLOUD_ENDPOINT_ECS")),
		credentials: ecsclient.Credentials{
			AccessKeyID: os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_ID"), AccessKeySecret: os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
			SecurityToken: os.Getenv("ALIBABA_CLOUD_SECURITY_TOKEN"),
		},
	}
}

// client is one for whom the settings name. What is missing is wrong usage.
func (s settings) client(warnings io.Writer) (*ecsclient.Client, error) {
	options, err := s.resolve(warnings)
	if err == nil {
		var client *ecsclient.Client
		if client, err = ecsclient.New(options); err == nil {
			return client, nil
		}
	}
	return nil, cli.UsageError{Err: err}
}

// resolve puts together flags, environment and profile.
func (s settings) resolve(warnings io.Writer) (ecsclient.Options, error) {
	env := environment()
	profile, err := loadProfile(s.profile)
	if err != nil && s.profile != "" {
		return ecsclient.Options{}, err
	}
	sources := []account{env, profile}
	if s.profile != "" {
		sources = []account{profile, env}
	}
	options := ecsclient.Options{
		Region:   cmp.Or(s.region, sources[0].region, sources[1].region),
		Endpoint: cmp.Or(s.endpoint, sources[0].endpoint, sources[1].endpoint),
	}
	used, missing := s.credentials(sources)
	if missing == nil && options.Region == "" {
		missing = errNoRegion
	}
	if missing != nil { // a profile that could not be read may be why
		return ecsclient.Options{}, cmp.Or(err, missing)
	}
	used.warnIfShared(warnings)
	options.Credentials = used.credentials
	return options, nil
}

var (
	errNoRegion = errors.New("no region: name it by --region, ALIBABA_CLOUD_REGION_ID or region_id of a profile in ~/.aliyun/config.json")
	errNoKey    = errors.New(`no access key: give it
  in the environment: ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET,
  in a profile: ~/.aliyun/config.json or ~/.alibabacloud/credentials,
  or by flags: --access-key-id and --access-key-secret-file`)
)

// credentials are those of the first source that has any: an id of one and a secret of another do not belong
// together. An id that a flag names goes with a secret that is said to be its own, or nobody's.
func (s settings) credentials(sources []account) (account, error) {
	if s.secretFile != "" {
		return s.fromSecretFile(sources)
	}
	for _, source := range sources {
		have := &source.credentials
		if s.accessKeyID != "" {
			if have.AccessKeySecret == "" || have.AccessKeyID != "" && have.AccessKeyID != s.accessKeyID {
				continue
			}
			have.AccessKeyID = s.accessKeyID
		}
		if have.AccessKeyID != "" || have.AccessKeySecret != "" {
			return source, source.check()
		}
	}
	if s.accessKeyID != "" {
		return account{}, errors.New("--access-key-id: its secret is missing: --access-key-secret-file, or ALIBABA_CLOUD_ACCESS_KEY_SECRET")
	}
	return account{}, errNoKey
}

// check tells which half of the access key is missing.
func (a account) check() error {
	switch {
	case a.credentials.AccessKeyID == "":
		return fmt.Errorf("%s has an access key's secret, and no id: ALIBABA_CLOUD_ACCESS_KEY_ID, or access_key_id in a profile", a.from)
	case a.credentials.AccessKeySecret == "":
		return fmt.Errorf("%s has an access key's id, and no secret: ALIBABA_CLOUD_ACCESS_KEY_SECRET, or access_key_secret in a profile", a.from)
	}
	return nil
}

// warnIfShared says that others can read the secret.
func (a account) warnIfShared(warnings io.Writer) {
	if a.file == "" {
		return
	}
	if info, err := os.Stat(a.file); err == nil && info.Mode().Perm()&0o044 != 0 {
		fmt.Fprintf(warnings, "latchkey: warning: others can read %s, which holds a secret: chmod 600 %[1]s\n", a.file)
	}
}

// maxSecretFile bounds what is read of a file that is named as one with a secret, in bytes.
const maxSecretFile = 4096

func (s settings) fromSecretFile(sources []account) (account, error) {
	id := cmp.Or(s.accessKeyID, sources[0].credentials.AccessKeyID, sources[1].credentials.AccessKeyID)
	if id == "" {
		return account{}, errors.New("--access-key-secret-file: the id is missing: --access-key-id, or ALIBABA_CLOUD_ACCESS_KEY_ID")
	}
	text, err := readSmall(s.secretFile, maxSecretFile)
	if err != nil {
		return account{}, fmt.Errorf("read the access key's secret: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" || strings.ContainsAny(secret, " \t\r\n") {
		return account{}, fmt.Errorf("%s: want the access key's secret, alone on one line", s.secretFile)
	}
	return account{
		from: s.secretFile, file: s.secretFile,
		credentials: ecsclient.Credentials{AccessKeyID: id, AccessKeySecret: secret},
	}, nil
}

// readSmall reads a file that has no reason to be larger than limit, in bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAtMost(file, path, limit)
}

func readAtMost(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: more than %d bytes", name, limit)
	}
	return data, nil
}
