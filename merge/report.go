package merge

import (
	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
)

// A Report says what a merge did, or with Planned what it would do.
type Report struct {
	Planned  bool            `json:"planned,omitempty"`
	Output   string          `json:"output"`
	Adapters []AdapterReport `json:"adapters"`
	Files    []FileReport    `json:"files"`
	Tensors  []TensorReport  `json:"tensors"`
	Total    TensorReport    `json:"total"`
	Notes    []string        `json:"notes,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
	Bytes    int64           `json:"bytes"`
	Record   *RecordReport   `json:"record,omitempty"`
}

// A RecordReport is the record that unmerging needs.
type RecordReport struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// An AdapterReport accounts for every module of an adapter: Modules is Applied
// and the modules among Skipped.
type AdapterReport struct {
	Path    string   `json:"path"`
	Weight  float64  `json:"weight"`
	Modules int      `json:"modules"`
	Applied int      `json:"applied"`
	Skipped []string `json:"skipped,omitempty"` // by the user's wish
	Unused  []string `json:"unused,omitempty"`  // tensors without effect on the merged model
	Replace int      `json:"replacements,omitempty"`
	// Names counts the modules that the base has under another name.
	Names []adapter.MapUse `json:"names,omitempty"`
}

// A FileReport is one weights file of the output.
type FileReport struct {
	Name    string `json:"name"`
	Bytes   int64  `json:"bytes"`
	Changed int    `json:"changed_tensors"`
	How     string `json:"how"` // "merged", "copied" or "cloned"
}

// A TensorReport is one changed tensor of the output, or the sum of all.
type TensorReport struct {
	Name     string  `json:"name,omitempty"`
	DType    string  `json:"dtype,omitempty"`
	Shape    []int   `json:"shape,omitempty"`
	Relative float64 `json:"relative"` // ‖ΔW‖/‖W‖
	Kept     float64 `json:"kept"`     // share of the update that survived rounding
	Changed  int     `json:"changed"`  // elements whose value changed
	Elements int     `json:"elements"`
}

func (t *TensorReport) set(s Stats) {
	t.Relative, t.Kept, t.Changed, t.Elements = s.Relative(), s.Kept(), s.Changed, s.Elements
}

// MinKept is the share of the update below which a merge is warned about
// (docs/rounding.md: below it the merged model measurably differs from the
// adapter).
const MinKept = 0.95

// Report describes the plan before it is carried out.
func (p *Plan) Report() *Report {
	r := &Report{Planned: true, Adapters: p.targets.summary, Notes: p.targets.notes}
	for _, f := range p.files {
		how := "merged"
		if f.clone != "" {
			how = "copied"
		}
		r.Files = append(r.Files, FileReport{Name: f.name, Bytes: f.size, Changed: f.changed(), How: how})
		r.Bytes += f.size
	}
	for _, ch := range p.changes {
		t := TensorReport{Name: ch.out.Name, DType: ch.out.DType.String(), Shape: ch.out.Shape, Elements: ch.planes * ch.rows * ch.cols}
		r.Tensors = append(r.Tensors, t)
		r.Total.Elements += t.Elements
	}
	for _, w := range p.base.Warnings() {
		if found, ok := rule.Lookup(w.Rule); !ok || found.Severity != rule.Info {
			r.Warnings = append(r.Warnings, w.Error())
		}
	}
	for _, a := range p.adapters {
		for _, w := range a.Warnings {
			r.Warnings = append(r.Warnings, w.Error())
		}
	}
	return r
}

func (f *outFile) changed() int {
	n := 0
	for _, s := range f.segments {
		if s.change != nil && s.change.adapted {
			n++
		}
	}
	return n
}
