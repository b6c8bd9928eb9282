package account

// UIDs are the user ids of all accounts in the files below root, by name.
func UIDs(root string) (map[string]int, error) {
	lines, err := readLines(root, "/etc/passwd")
	if err != nil {
		return nil, err
	}
	uids := make(map[string]int, len(lines))
	for _, line := range lines {
		f := fields(line, 7)
		uid, uidOK := parseID(field(f, 2))
		_, gidOK := parseID(field(f, 3))
		if !uidOK || !gidOK {
			continue // findPasswd passes over it as well
		}
		if _, taken := uids[f[0]]; !taken {
			uids[f[0]] = uid
		}
	}
	return uids, nil
}
