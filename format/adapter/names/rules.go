package names

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// FileKey is the key of the user's rules.
const FileKey = "names file"

// Rules are the user's additions to the map.
type Rules struct{ transforms []*transform }

// Empty reports whether there are no rules.
func (r Rules) Empty() bool { return len(r.transforms) == 0 }

// Join puts rules one after another.
func Join(all ...Rules) (joined Rules) {
	for _, r := range all {
		joined.transforms = append(joined.transforms, r.transforms...)
	}
	return joined
}

// maxRules bounds a file of rules, in bytes.
const maxRules = 1 << 20

// ReadRules reads a file of rules:
//
//	{"rules": [
//	  {"from": "^transformer\\.h\\.", "to": "model.layers."},
//	  {"from": ["experts\\.\\d+\\.gate\\.weight", "experts\\.\\d+\\.up\\.weight"],
//	   "to": "experts.gate_up_proj", "ops": [{"op": "MergeModulelist"}, {"op": "Concatenate", "dim": 1}]}
//	]}
//
// From is a regular expression (RE2) of what a name on disk holds, to what
// stands there in memory, with \1 for what the first group found. Ops are
// those of the map.
func ReadRules(r io.Reader) (Rules, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxRules+1))
	if err != nil {
		return Rules{}, err
	}
	if len(data) > maxRules {
		return Rules{}, fmt.Errorf("rules of more than %d bytes", maxRules)
	}
	var file struct {
		Rules []struct {
			From oneOrMore `json:"from"`
			To   oneOrMore `json:"to"`
			Ops  []Op      `json:"ops"`
		} `json:"rules"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return Rules{}, fmt.Errorf("rules: %w", err)
	}
	var rules Rules
	for i, rule := range file.Rules {
		t, err := userTransform(rule.From, rule.To, rule.Ops)
		if err != nil {
			return Rules{}, fmt.Errorf("rule %d: %w", i+1, err)
		}
		rules.transforms = append(rules.transforms, t)
	}
	if len(rules.transforms) == 0 {
		return Rules{}, fmt.Errorf("no rules")
	}
	return rules, nil
}

func userTransform(from, to []string, ops []Op) (*transform, error) {
	if len(from) == 0 || len(to) == 0 {
		return nil, fmt.Errorf("needs from and to")
	}
	if len(ops) == 0 && len(to) != 1 {
		return nil, fmt.Errorf("several names in to need ops")
	}
	for _, op := range ops {
		if operations[op.Op] == nil {
			return nil, fmt.Errorf("operation %q is not known", op.Op)
		}
	}
	t := &transform{key: FileKey, from: from, to: to, ops: ops}
	for i, pattern := range from {
		re, err := regexp.Compile("(" + pattern + ")")
		if err != nil {
			return nil, err
		}
		b := branch{source: i, re: re, anchored: strings.HasPrefix(pattern, "^")}
		for g := 2; g <= re.NumSubexp(); g++ {
			b.captures = append(b.captures, g)
		}
		t.branches = append(t.branches, b)
	}
	return t, nil
}

// oneOrMore is a string or a list of strings.
type oneOrMore []string

func (s *oneOrMore) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*s = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(s))
}
