package target

// setting is a keyword of sshd_config(5), with what this server has to know of it.
type setting struct {
	keyword string
	value   string   // default; "" where the keyword is not shown unless set
	words   []string // the only values there are; nil for any
	global  bool     // not allowed within a Match block
	number  bool     // a number without sign
	check   func(value string) error
	refused bool // restricts logins in a way this server cannot: only "none" is taken
	empty   bool // "" is a value
	ignored bool // of former releases: sshd reads on after a warning
}

var (
	yesNo        = []string{"yes", "no"}
	rootWords    = []string{"yes", "no", "prohibit-password", "without-password", "forced-commands-only"}
	forwardWords = []string{"yes", "all", "no", "local", "remote"}
	gatewayWords = []string{"yes", "no", "clientspecified"}
	familyWords  = []string{"any", "inet", "inet6"}
)

// settings are the keywords of OpenSSH 7.4 to 10.x by their present names, in the order in which they are shown.
var settings = []setting{
	{keyword: "port", value: "22", number: true, global: true},
	{keyword: "addressfamily", value: "any", words: familyWords, global: true},
	{keyword: "listenaddress", value: "127.0.0.1", global: true},
	{keyword: "usepam", value: "no", words: yesNo, global: true},
	{keyword: "logingracetime", value: "120", global: true, check: checked(parseTime)},
	{keyword: "maxauthtries", value: "6", number: true, check: checkAuthTries},
	{keyword: "maxsessions", value: "10", number: true},
	{keyword: "maxstartups", value: "10:30:100", global: true, check: checked(parseMaxStartups)},
	{keyword: "clientaliveinterval", value: "0", check: checked(parseTime)},
	{keyword: "clientalivecountmax", value: "3", number: true},
	{keyword: "requiredrsasize", value: "1024", number: true},
	{keyword: "permitrootlogin", value: "prohibit-password", words: rootWords},
	{keyword: "hostkey", global: true},
	{keyword: "hostkeyagent", global: true},
	{keyword: "hostcertificate", global: true},
	{keyword: "hostkeyalgorithms", global: true, check: checked(hostKeyList.parse)},
	{keyword: "pubkeyauthentication", value: "yes", words: yesNo},
	{keyword: "pubkeyacceptedalgorithms", check: checked(pubkeyList.parse)},
	{keyword: "pubkeyauthoptions", value: "none", refused: true},
	{keyword: "passwordauthentication", value: "yes", words: yesNo},
	{keyword: "kbdinteractiveauthentication", value: "yes", words: yesNo},
	{keyword: "permitemptypasswords", value: "no", words: yesNo},
	{keyword: "hostbasedauthentication", value: "no", words: yesNo},
	{keyword: "hostbasedacceptedalgorithms"},
	{keyword: "hostbasedusesnamefrompacketonly", value: "no", words: yesNo},
	{keyword: "ignorerhosts"},
	{keyword: "ignoreuserknownhosts", value: "no", words: yesNo, global: true},
	{keyword: "gssapiauthentication", value: "no", words: yesNo},
	{keyword: "gssapicleanupcredentials", value: "yes", words: yesNo, global: true},
	{keyword: "gssapikeyexchange", value: "no", words: yesNo, global: true},
	{keyword: "gssapistrictacceptorcheck", value: "yes", words: yesNo, global: true},
	{keyword: "gssapistorecredentialsonrekey", value: "no", words: yesNo, global: true},
	{keyword: "gssapikexalgorithms", global: true},
	{keyword: "kerberosauthentication", value: "no", words: yesNo},
	{keyword: "kerberosorlocalpasswd", value: "yes", words: yesNo, global: true},
	{keyword: "kerberosticketcleanup", value: "yes", words: yesNo, global: true},
	{keyword: "kerberosgetafstoken", global: true, ignored: true},
	{keyword: "authenticationmethods", value: "any"},
	{keyword: "authorizedkeysfile", value: ".ssh/authorized_keys .ssh/authorized_keys2"},
	{keyword: "authorizedkeyscommand", value: "none"},
	{keyword: "authorizedkeyscommanduser", value: "none"},
	{keyword: "authorizedprincipalsfile", value: "none"},
	{keyword: "authorizedprincipalscommand", value: "none"},
	{keyword: "authorizedprincipalscommanduser", value: "none"},
	{keyword: "trustedusercakeys", value: "none"},
	{keyword: "casignaturealgorithms", check: checked(authorityList.parse)},
	{keyword: "revokedkeys", value: "none"},
	{keyword: "securitykeyprovider", global: true},
	{keyword: "allowusers"},
	{keyword: "denyusers"},
	{keyword: "allowgroups"},
	{keyword: "denygroups"},
	{keyword: "strictmodes", value: "yes", words: yesNo, global: true},
	{keyword: "forcecommand", value: "none", empty: true},
	{keyword: "chrootdirectory", value: "none", refused: true},
	{keyword: "banner", value: "none"},
	{keyword: "acceptenv"},
	{keyword: "setenv"},
	{keyword: "permituserenvironment", value: "no", global: true},
	{keyword: "permittty", value: "yes", words: yesNo},
	{keyword: "permituserrc", value: "yes", words: yesNo},
	{keyword: "permittunnel", value: "no"},
	{keyword: "permitopen", value: "any"},
	{keyword: "permitlisten", value: "any"},
	{keyword: "allowtcpforwarding", value: "yes", words: forwardWords},
	{keyword: "allowagentforwarding", value: "yes", words: yesNo},
	{keyword: "allowstreamlocalforwarding", value: "yes", words: forwardWords},
	{keyword: "disableforwarding", value: "no", words: yesNo},
	{keyword: "gatewayports", value: "no", words: gatewayWords},
	{keyword: "streamlocalbindmask", value: "0177", check: checked(bindMask)},
	{keyword: "streamlocalbindunlink", value: "no", words: yesNo},
	{keyword: "x11forwarding", value: "no", words: yesNo},
	{keyword: "x11displayoffset", value: "10"},
	{keyword: "x11uselocalhost", value: "yes", words: yesNo},
	{keyword: "xauthlocation", global: true},
	{keyword: "exposeauthinfo", value: "no", words: yesNo},
	{keyword: "fingerprinthash", value: "SHA256", global: true},
	{keyword: "channeltimeout"},
	{keyword: "unusedconnectiontimeout", value: "none", check: checkTimeOrNone},
	{keyword: "refuseconnection", words: yesNo},
	{keyword: "rdomain", refused: true},
	{keyword: "rekeylimit", value: "0 0"},
	{keyword: "ipqos"},
	{keyword: "compression", value: "yes", global: true},
	{keyword: "tcpkeepalive", value: "yes", words: yesNo, global: true},
	{keyword: "usedns", value: "no", global: true, check: checkUseDNS},
	{keyword: "printmotd", value: "yes", words: yesNo, global: true},
	{keyword: "printlastlog", value: "yes", words: yesNo, global: true},
	{keyword: "pidfile", value: "none", global: true},
	{keyword: "modulifile", global: true},
	{keyword: "ciphers", global: true, check: checked(cipherList.parse)},
	{keyword: "macs", global: true, check: checked(macList.parse)},
	{keyword: "kexalgorithms", global: true, check: checked(keyExchangeList.parse)},
	{keyword: "syslogfacility", value: "AUTH", global: true},
	{keyword: "loglevel", value: "INFO"},
	{keyword: "logverbose"},
	{keyword: "subsystem", global: true},
	{keyword: "versionaddendum", value: "none", global: true, empty: true},
	{keyword: "debianbanner", words: yesNo, global: true},
	{keyword: "sshdsessionpath", global: true},
	{keyword: "sshdauthpath", global: true},
	{keyword: "persourcemaxstartups", value: "none", global: true, check: checked(parsePerSource)},
	{keyword: "persourcenetblocksize", value: "32:128", global: true, check: checked(parseNetBlock)},
	{keyword: "persourcepenalties", global: true},
	{keyword: "persourcepenaltyexemptlist", global: true},
	{keyword: "useprivilegeseparation", global: true, ignored: true},
	{keyword: "protocol", global: true, ignored: true},
	{keyword: "afstokenpassing", ignored: true},
	{keyword: "authorizedkeysfile2", ignored: true},
	{keyword: "checkmail", ignored: true},
	{keyword: "gssapiusesessioncredcache", ignored: true},
	{keyword: "gssusesessionccache", ignored: true},
	{keyword: "kerberostgtpassing", ignored: true},
	{keyword: "keyregenerationinterval", ignored: true},
	{keyword: "pamauthenticationviakbdint", ignored: true},
	{keyword: "permitblacklistedkeys", ignored: true},
	{keyword: "reversemappingcheck", ignored: true},
	{keyword: "rhostsauthentication", ignored: true},
	{keyword: "rhostsrsaauthentication", ignored: true},
	{keyword: "rsaauthentication", ignored: true},
	{keyword: "serverkeybits", ignored: true},
	{keyword: "uselogin", ignored: true},
	{keyword: "verifyreversemapping", ignored: true},
}

// Keywords are the keywords that mean something to this server, lower case, in the order in which sshd -T's answer has them here.
func Keywords() []string {
	var all []string
	for _, s := range settings {
		if !s.ignored {
			all = append(all, s.keyword)
		}
	}
	return all
}

// settingsByKeyword is settings, for each look-up of a connection.
var settingsByKeyword = func() map[string]setting {
	named := make(map[string]setting, len(settings))
	for _, s := range settings {
		named[s.keyword] = s
	}
	return named
}()

func settingNamed(keyword string) (setting, bool) {
	s, known := settingsByKeyword[keyword]
	return s, known
}
