package rule

import "slices"

// A Severity tells what breaking a rule means.
type Severity uint8

const (
	Fatal     Severity = iota // the input is refused
	Warning                   // legal, but somebody will stumble over it
	Info                      // worth knowing
	Unhandled                 // valid, or may be, but this program does not handle it
	Off                       // not reported
)

var severityNames = [...]string{"error", "warning", "info", "unsupported", "off"}

// String returns "error", "warning", "info", "unsupported" or "off".
func (s Severity) String() string { return severityNames[s] }

// ParseSeverity is the inverse of String.
func ParseSeverity(name string) (Severity, bool) {
	i := slices.Index(severityNames[:], name)
	return Severity(max(i, 0)), i >= 0
}

// A Rule is a row of the rule table.
type Rule struct {
	ID       ID
	Severity Severity
	Title    string // a few words
	Summary  string // what the rule demands, one or two sentences
	Cure     string // what to do when it is broken; "" where nobody can say
}

// families are the tables of rules, one file each.
func families() [][]Rule {
	return [][]Rule{
		safetensorsRules,
		adapterRules,
		shardRules,
		additionRules,
		profileRules,
		tokenizerRules,
		recordRules,
	}
}

// All returns the rules of every family in the order of the tables.
func All() []Rule { return slices.Concat(families()...) }

// Lookup returns the rule with that ID.
func Lookup(id ID) (Rule, bool) {
	for _, family := range families() {
		for _, r := range family {
			if r.ID == id {
				return r, true
			}
		}
	}
	return Rule{}, false
}

// Cure returns what to do when a rule is broken, or "".
func Cure(id ID) string {
	r, _ := Lookup(id)
	return r.Cure
}
