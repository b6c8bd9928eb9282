package target

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey-ssh/latchkey/sshd"
)

// checkArguments looks at the keywords whose arguments have a form of their own, and that do nothing or little here: what
// sshd refuses is refused.
func checkArguments(d sshd.Directive) error {
	switch d.Name() {
	case "setenv":
		return checkSetEnv(d.Args)
	case "ipqos":
		return checkIPQoS(d.Args)
	case "permittunnel":
		if !slices.Contains([]string{"no", "yes", "point-to-point", "ethernet"}, strings.ToLower(d.Args[0])) {
			return fmt.Errorf("PermitTunnel %s: expected no, yes, point-to-point or ethernet", d.Args[0])
		}
	}
	return nil
}

func checkSetEnv(variables []string) error {
	for _, variable := range variables {
		if name, _, ok := strings.Cut(variable, "="); !ok || name == "" {
			return fmt.Errorf("SetEnv %s: expected NAME=value", name) // the value may be a secret
		}
	}
	return nil
}

// serviceClasses are the names of sshd_config(5) under IPQoS.
var serviceClasses = strings.Fields(`af11 af12 af13 af21 af22 af23 af31 af32 af33 af41 af42 af43
	cs0 cs1 cs2 cs3 cs4 cs5 cs6 cs7 ef le lowdelay throughput reliability none`)

func checkIPQoS(classes []string) error {
	if len(classes) > 2 {
		return errors.New("IPQoS: more than two arguments")
	}
	for _, class := range classes {
		if _, err := strconv.ParseUint(class, 0, 8); err != nil && !slices.Contains(serviceClasses, strings.ToLower(class)) {
			return fmt.Errorf("IPQoS %s: no such class of service", class)
		}
	}
	return nil
}

// checkCommandUsers: sshd runs no command for keys or principals of which it is not said as whom.
func checkCommandUsers(values map[string][]string) error {
	for _, keyword := range []string{"AuthorizedKeysCommand", "AuthorizedPrincipalsCommand"} {
		command := values[strings.ToLower(keyword)]
		if len(command) == 0 || strings.EqualFold(command[0], "none") {
			continue
		}
		if user := values[strings.ToLower(keyword)+"user"]; len(user) == 0 || user[0] == "none" {
			return fmt.Errorf("%s set without %sUser", keyword, keyword)
		}
	}
	return nil
}

// resolveAlgorithms puts what each list of algorithms comes to in the place of its value, such as "+ssh-rsa".
func resolveAlgorithms(values map[string][]string) error {
	for _, list := range []*algorithmList{&keyExchangeList, &cipherList, &macList, &hostKeyList, &pubkeyList, &authorityList} {
		keyword, value := strings.ToLower(list.keyword), ""
		if args := values[keyword]; len(args) > 0 {
			value = args[0]
		}
		names, err := list.parse(value)
		if err != nil {
			return err
		}
		values[keyword] = []string{strings.Join(names, ",")}
	}
	return nil
}
