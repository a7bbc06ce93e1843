// Package validate holds files against the rules of the specification and says
// everything that is wrong with them, for people and for CI. The checks are
// those of the readers, run to the end; only what needs values, a base or a
// server's profile is checked here. It writes reports, but opens no output.
package validate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/rule"
)

// Options change what Run checks and how it judges. The zero value checks
// headers and keeps the severities of the rules.
type Options struct {
	Open    checkpoint.Options
	Base    *checkpoint.Checkpoint // hold adapters against this base
	Names   adapter.Rules          // added to the map of its names
	Profile *Profile               // and against what this program accepts
	Deep    bool                   // read values: NaN, infinities, zeros, digests
	// Severity overrides the severity of rules. rule.Off switches one off.
	Severity map[rule.ID]rule.Severity
	// Ignore lists rules that are not reported, each "ID" or "ID:glob" with a
	// glob for the file or the tensor.
	Ignore []string
	// Progress is called from several goroutines with the bytes of values read
	// since the last call. May be nil.
	Progress func(bytes int64)
}

// A Finding is a broken rule in one place.
type Finding struct {
	Rule     rule.ID
	Severity rule.Severity
	File     string // as the user named it, with what is below
	Tensor   string // "" if the file as a whole is at fault
	Message  string // what was found and what was expected
	Cure     string // what to do about it, or ""
}

// A Kind is what was checked.
type Kind string

const (
	Adapter    Kind = "adapter"
	Checkpoint Kind = "checkpoint"
	File       Kind = "file" // one safetensors file
)

// A Result is what was found in one adapter, checkpoint or file.
type Result struct {
	Path     string
	Kind     Kind
	Findings []Finding
	Err      error // it could not be read: neither valid nor invalid
}

// A Report is what was found in all.
type Report struct {
	Results []Result
	Profile *Profile
}

// Run checks every adapter, checkpoint and file below the paths. A path that
// holds none, or does not exist, is an error; what is found in the others is
// reported all the same.
func Run(ctx context.Context, paths []string, o Options) (*Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	var units []unit
	var failed []error
	seen := map[string]bool{}
	for _, p := range paths {
		found, errs := find(p, o.Open)
		failed = append(failed, errs...)
		for _, u := range found {
			if !seen[u.key()] {
				seen[u.key()] = true
				units = append(units, u)
			}
		}
	}
	r := &Report{Results: make([]Result, len(units)), Profile: o.Profile}
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(len(units), runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(units) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				r.Results[i] = check(ctx, units[i], o)
			}
		})
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, err := range failed {
		r.Results = append(r.Results, Result{Kind: File, Err: err})
	}
	return r, nil
}

// Check refuses options that name rules or globs that do not exist.
func (o Options) Check() error {
	for _, p := range o.Ignore {
		id, glob, _ := strings.Cut(p, ":")
		if _, ok := rule.Lookup(rule.ID(id)); !ok {
			return fmt.Errorf("there is no rule %q", id)
		}
		if _, err := path.Match(glob, ""); err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(o.Severity)) {
		if _, ok := rule.Lookup(id); !ok {
			return fmt.Errorf("there is no rule %q", id)
		}
	}
	return nil
}

// A collector gathers the findings of one unit.
type collector struct {
	o        Options
	findings []Finding
	count    map[rule.ID]int
	fatal    bool // something broke a rule, whatever the user makes of it
}

// report is a rule.Report that goes on.
func (c *collector) report(e *rule.Error) error {
	c.add(e)
	return nil
}

func (c *collector) add(e *rule.Error) {
	s := e.Severity()
	if s == rule.Fatal {
		c.fatal = true
	}
	c.put(Finding{Rule: e.Rule, Severity: s, File: e.File, Tensor: e.Tensor, Message: e.Err.Error(), Cure: cmp.Or(e.Hint, rule.Cure(e.Rule))})
}

func (c *collector) warnings(list []*rule.Error) {
	for _, e := range list {
		if e.Severity() == rule.Fatal { // it came as a warning
			milder := *e
			milder.Milder = rule.Warning
			e = &milder
		}
		c.add(e)
	}
}

func (c *collector) refusal(u *rule.Unsupported) {
	id := cmp.Or(u.Rule, "AD007")
	if slices.ContainsFunc(c.findings, func(f Finding) bool { return f.Rule == id && id != "AD007" && f.Severity != rule.Unhandled }) {
		return // said already, as the rule that it is about
	}
	c.put(Finding{Rule: id, Severity: rule.Unhandled, File: u.File, Message: u.What + ": " + rule.ErrUnsupported.Error(), Cure: cmp.Or(u.Hint, rule.Cure(id))})
}

func (c *collector) put(f Finding) {
	if s, ok := c.o.Severity[f.Rule]; ok {
		f.Severity = s
	}
	if f.Severity == rule.Off || c.ignored(f) {
		return
	}
	if c.count == nil {
		c.count = map[rule.ID]int{}
	}
	c.count[f.Rule]++
	switch n := c.count[f.Rule]; {
	case n <= findingsPerRule:
		c.findings = append(c.findings, f)
	case n == findingsPerRule+1:
		c.findings = append(c.findings, Finding{Rule: f.Rule, Severity: f.Severity, File: f.File, Message: "more of the same are not listed"})
	}
}

// findingsPerRule bounds what one adapter or checkpoint may say of one rule: a
// file of a million faults has no use for a report of a million lines.
const findingsPerRule = 20

func (c *collector) ignored(f Finding) bool {
	for _, p := range c.o.Ignore {
		id, glob, some := strings.Cut(p, ":")
		if rule.ID(id) != f.Rule {
			continue
		}
		for _, name := range []string{f.File, path.Base(f.File), f.Tensor} {
			if ok, _ := path.Match(glob, name); ok && name != "" || !some {
				return true
			}
		}
	}
	return false
}

// Counts are how many findings there are of each severity.
type Counts struct {
	Errors, Warnings, Infos, Unsupported, Failures int
}

// Count counts the findings.
func (r *Report) Count() (n Counts) {
	for _, res := range r.Results {
		if res.Err != nil {
			n.Failures++
		}
		for _, f := range res.Findings {
			switch f.Severity {
			case rule.Fatal:
				n.Errors++
			case rule.Warning:
				n.Warnings++
			case rule.Info:
				n.Infos++
			case rule.Unhandled:
				n.Unsupported++
			}
		}
	}
	return n
}

// verdict names what the findings of a unit amount to.
func (res Result) verdict() string {
	worst := "valid"
	for _, f := range res.Findings {
		switch f.Severity {
		case rule.Fatal:
			return "invalid"
		case rule.Unhandled:
			worst = "unsupported"
		}
	}
	if res.Err != nil {
		return "failed"
	}
	return worst
}
