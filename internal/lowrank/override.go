package lowrank

import (
	"fmt"
	"path"
	"strings"

	"github.com/loratool/loratool/internal/text"
)

// Rules are a rule and its exceptions.
type Rules struct {
	Rule
	For []Override // the first that matches decides
}

// An Override is a rule for the modules whose name matches a glob, in which *
// stands for any characters.
type Override struct {
	Glob string
	Rule
}

// ParseOverride reads GLOB=RULE, such as "*.q_proj=8".
func ParseOverride(s string) (Override, error) {
	glob, value, ok := strings.Cut(s, "=")
	if !ok || glob == "" {
		return Override{}, fmt.Errorf("%s: expected GLOB=RANK", text.Quote(s))
	}
	if _, err := path.Match(glob, ""); err != nil {
		return Override{}, fmt.Errorf("%s: this glob is not closed", text.Quote(glob))
	}
	r, err := ParseRule(value)
	if err != nil {
		return Override{}, err
	}
	if _, ok := r.Budget(); ok {
		return Override{}, fmt.Errorf("%s: a budget is for all modules together", text.Quote(s))
	}
	return Override{glob, r}, nil
}

// Lookup returns the rule for a module.
func (r Rules) Lookup(name string) Rule {
	for _, o := range r.For {
		if Match(o.Glob, name) {
			return o.Rule
		}
	}
	return r.Rule
}

// Check returns an error if an exception matches none of the names: the user
// meant something.
func (r Rules) Check(names []string) error {
	for _, o := range r.For {
		if err := CheckGlob(o.Glob, names); err != nil {
			return err
		}
	}
	return nil
}

// Match reports whether a glob matches a module's name, or is it.
func Match(glob, name string) bool {
	ok, err := path.Match(glob, name)
	return glob == name || err == nil && ok
}

// CheckGlob returns an error that names the nearest names if none matches.
func CheckGlob(glob string, names []string) error {
	for _, name := range names {
		if Match(glob, name) {
			return nil
		}
	}
	return fmt.Errorf("no module matches %s; the nearest names are %s", text.Quote(glob), strings.Join(text.Nearest(glob, names, 3), ", "))
}
