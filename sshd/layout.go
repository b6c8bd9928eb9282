package sshd

import "slices"

// Layout is where in sshd's configuration a policy has to be written to have
// effect.
type Layout string

// The layouts.
const (
	LayoutDropIn     Layout = "drop-in"     // a file of our own, by an Include that is there
	LayoutOwnInclude Layout = "own-include" // the same file, by an Include in a marked block at the top of the main file
	LayoutMainFile   Layout = "main-file"   // marked blocks in the main file
)

// Layout is where p has effect.
//
// The drop-in does where an Include of the main file reaches it before anything
// that beats p. Where it is not reached, or too late, an Include of our own at
// the very top makes up for it: a guard in an included file ends with that file,
// and so can stand ahead of every Match block there is. Only a configuration
// without any Include gets the policy itself, since Include is unknown to
// releases before 8.2.
func (f *Files) Layout(p Policy) Layout {
	at := f.reaching()
	switch {
	case at >= 0 && !slices.ContainsFunc(f.readBefore(at), p.beatenBy):
		return LayoutDropIn
	case slices.ContainsFunc(f.text.Directives, f.isForeignInclude):
		return LayoutOwnInclude
	}
	return LayoutMainFile
}

// beatenBy tells whether a line that sshd reads before ours takes the effect
// from it. Over global lines a block of ours wins, but for the one keyword that no
// Match block may hold; a Match block before it wins over it.
func (p Policy) beatenBy(d Directive) bool {
	if isPasswordKeyword(d.Keyword) {
		return p.Closed && (d.Match != nil || !p.Guard || d.Keyword == "challengeresponseauthentication")
	}
	return d.Match != nil && slices.Contains(p.keysKeywords(), d.Keyword)
}

// keysKeywords are those about keys that the policy sets in a Match block.
func (p Policy) keysKeywords() []string {
	switch {
	case p.keysFile != "" || p.keysFileOff:
		return []string{"authorizedkeysfile", commandKeyword, commandUserKeyword}
	case p.keysBlock() != "":
		return []string{commandKeyword, commandUserKeyword}
	}
	return nil
}

// isPasswordKeyword tells the keywords that decide over passwords.
func isPasswordKeyword(keyword string) bool {
	return slices.Contains([]string{
		"passwordauthentication", "kbdinteractiveauthentication", "challengeresponseauthentication", "skeyauthentication",
	}, keyword)
}

// isForeignInclude tells the Include lines that are not ours.
func (f *Files) isForeignInclude(d Directive) bool {
	return d.Keyword == "include" && !f.isOwn(d)
}

// isOwn tells the lines of our blocks and of the drop-in.
func (f *Files) isOwn(d Directive) bool {
	return d.File == DropIn || f.inMain(d) && d.Line <= len(f.ours) && f.ours[d.Line-1]
}

func (f *Files) inMain(d Directive) bool { return d.File == f.text.Files[0] }

// reaching is the index of the directive that includes the drop-in for every
// connection: the first such Include of the main file that is not ours, or -1.
func (f *Files) reaching() int {
	return slices.IndexFunc(f.text.Directives, func(d Directive) bool {
		return f.isForeignInclude(d) && f.inMain(d) && d.Match == nil && len(f.upToDropIn(d.Args)) > 0
	})
}

// upToDropIn are the files that an Include of patterns reads until it comes to
// the drop-in, which is the last of them; none if it never does.
func (f *Files) upToDropIn(patterns []string) []string {
	var names []string
	for _, arg := range patterns {
		pattern, err := includePattern(arg)
		if err != nil {
			continue // ReadText has refused it
		}
		for _, name := range f.matched(pattern) {
			if names = append(names, name); name == DropIn {
				return names
			}
		}
	}
	return nil
}

// readBefore are the foreign directives that sshd reads before it comes to the
// drop-in by the Include at that index.
func (f *Files) readBefore(at int) []Directive {
	include := f.text.Directives[at]
	before := f.foreign(f.text.Directives[:at])
	names := f.upToDropIn(include.Args)
	ahead := true // whether the file that the Include is at comes before the drop-in
	for _, d := range f.text.Directives[at+1:] {
		switch {
		case f.inMain(d):
			return before
		case f.includes(include, d.File):
			ahead = slices.Contains(names, d.File)
		}
		if ahead && !f.isOwn(d) {
			before = append(before, d)
		}
	}
	return before
}

// includes tells whether an Include line itself takes in the file name.
func (f *Files) includes(include Directive, name string) bool {
	return slices.ContainsFunc(include.Args, func(arg string) bool {
		pattern, err := includePattern(arg)
		return err == nil && globMatches(pattern, name)
	})
}

// foreign are the directives that are not ours.
func (f *Files) foreign(all []Directive) []Directive {
	var some []Directive
	for _, d := range all {
		if !f.isOwn(d) {
			some = append(some, d)
		}
	}
	return some
}
