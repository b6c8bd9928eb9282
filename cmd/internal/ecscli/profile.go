package ecscli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

const maxProfileFile = 1 << 20 // bytes

// loadProfile finds a profile in the file of the official CLI, else in that of the official SDKs. Without a name it is
// ALIBABA_CLOUD_PROFILE's, else the one that the file calls current, else "default"; then it may be missing.
func loadProfile(name string) (account, error) {
	named := cmp.Or(name, os.Getenv("ALIBABA_CLOUD_PROFILE"))
	home, err := os.UserHomeDir()
	if err != nil {
		return account{}, err
	}
	files := []struct {
		path string
		find func(data []byte, name string) (account, error)
	}{
		{filepath.Join(home, ".aliyun", "config.json"), findInConfig},
		{cmp.Or(os.Getenv("ALIBABA_CLOUD_CREDENTIALS_FILE"), filepath.Join(home, ".alibabacloud", "credentials")), findInINI},
	}
	for _, file := range files {
		data, err := readSmall(file.path, maxProfileFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return account{}, err
		}
		found, err := file.find(data, named)
		if errors.Is(err, errNoProfile) {
			continue
		}
		if err != nil {
			return account{}, fmt.Errorf("%s: %w", file.path, err)
		}
		found.from, found.file = file.path, file.path
		return found, nil
	}
	if named != "" {
		return account{}, fmt.Errorf("profile %q: neither in %s nor in %s", named, files[0].path, files[1].path)
	}
	return account{}, nil
}

var errNoProfile = errors.New("no such profile")

// aliyunConfig is ~/.aliyun/config.json as the official CLI writes it.
type aliyunConfig struct {
	Current  string `json:"current"`
	Profiles []struct {
		Name            string `json:"name"`
		Mode            string `json:"mode"`
		AccessKeyID     string `json:"access_key_id"`
		AccessKeySecret string `json:"access_key_secret"`
		StsToken        string `json:"sts_token"`
		RegionID        string `json:"region_id"`
		Endpoint        string `json:"endpoint"`
	} `json:"profiles"`
}

func findInConfig(data []byte, name string) (account, error) {
	var config aliyunConfig
	if json.Unmarshal(data, &config) != nil {
		return account{}, errors.New("it is not JSON as the aliyun CLI writes it")
	}
	name = cmp.Or(name, config.Current, "default")
	for _, p := range config.Profiles {
		if p.Name != name {
			continue
		}
		found := account{region: p.RegionID, endpoint: p.Endpoint}
		switch {
		case strings.EqualFold(p.Mode, "AK"):
			p.StsToken = ""
		case !strings.EqualFold(p.Mode, "StsToken"):
			return account{}, fmt.Errorf("profile %q is of mode %q: only AK and StsToken are known here", name, p.Mode)
		}
		found.credentials = ecsclient.Credentials{AccessKeyID: p.AccessKeyID, AccessKeySecret: p.AccessKeySecret, SecurityToken: p.StsToken}
		return found, nil
	}
	return account{}, errNoProfile
}

// findInINI reads what the official SDKs call the credentials file: sections in brackets, "key = value" lines,
// comments after # or ;.
func findInINI(data []byte, name string) (account, error) {
	name = cmp.Or(name, "default")
	var section map[string]string
	inside := false
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			inside = strings.TrimSpace(strings.Trim(line, "[]")) == name
			if inside && section == nil {
				section = map[string]string{}
			}
			continue
		}
		if key, value, found := strings.Cut(line, "="); found && inside {
			section[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if section == nil {
		return account{}, errNoProfile
	}
	if kind := section["type"]; kind != "access_key" && kind != "sts" {
		return account{}, fmt.Errorf("profile %q is of type %q: only access_key and sts are known here", name, kind)
	}
	return account{credentials: ecsclient.Credentials{
		AccessKeyID: section["access_key_id"], AccessKeySecret: section["access_key_secret"], SecurityToken: section["security_token"],
	}}, nil
}

// completeProfiles names the profiles of the official CLI's file.
func completeProfiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var config aliyunConfig
	home, _ := os.UserHomeDir()
	data, err := readSmall(filepath.Join(home, ".aliyun", "config.json"), maxProfileFile)
	if err != nil || json.Unmarshal(data, &config) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, p := range config.Profiles {
		names = append(names, p.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
