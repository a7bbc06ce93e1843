// Package note reads and writes what the specification adds to PEFT's adapter
// files: the entries of __metadata__ whose keys begin with "lora.". It knows
// their grammar; it does not look at tensors and computes no digests.
package note

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/strictjson"
)

// Spec is the version of the specification that this program writes.
const Spec = "1.0"

// Major and Minor are the numbers of Spec.
const Major, Minor = 1, 0

// The keys. All others that begin with Prefix are for later versions.
const (
	Prefix          = "lora."
	KeySpec         = "lora.spec"
	KeyRequired     = "lora.required_features"
	KeyBaseTensors  = "lora.base.tensors"
	KeyFingerprint  = "lora.base.fingerprint"
	KeyProvenance   = "lora.provenance"
	KeyTensors      = "lora.tensors"
	KeyModules      = "lora.modules"
	maxDims         = 16
	fingerprintMark = "sha256:"
)

var keys = []string{KeySpec, KeyRequired, KeyBaseTensors, KeyFingerprint, KeyProvenance, KeyTensors, KeyModules}

// A Digest is a SHA-256.
type Digest [sha256.Size]byte

// String returns the digest in lower-case hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// A Weight is what an adapter remembers of a weight of its base: the name by
// which the adapter knows it, and what its elements were.
type Weight struct {
	Name   string
	DType  dtype.DType
	Shape  []int
	Digest Digest
}

// A Scale is the rank and alpha of a module.
type Scale struct {
	Module string
	Rank   int
	Alpha  float64
}

// Notes are the additions of one file. The zero value has none.
type Notes struct {
	Version  string // lora.spec, "" if the file names none
	Required []string
	Base     []Weight // the binding, nil if the adapter is bound to no base
	Tensors  map[string]Digest
	Modules  []Scale

	// Refusals say why the file cannot be understood: a required feature or a
	// version that is not known.
	Refusals []*rule.Unsupported
	Warnings []*rule.Error
}

// Read takes the additions out of a header. report gets each broken rule.
func Read(file string, h *safetensors.Header, report rule.Report) (*Notes, error) {
	r := reader{n: &Notes{}, file: file, h: h, report: report}
	for _, step := range []func() error{r.version, r.required, r.base, r.tensors, r.modules} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	r.lint()
	return r.n, nil
}

type reader struct {
	n      *Notes
	file   string
	h      *safetensors.Header
	report rule.Report
	minor  int
}

func (r *reader) fault(id rule.ID, format string, args ...any) error {
	return r.report(&rule.Error{File: r.file, Rule: id, Err: fmt.Errorf(format, args...)})
}

func (r *reader) warn(id rule.ID, format string, args ...any) {
	r.n.Warnings = append(r.n.Warnings, &rule.Error{File: r.file, Rule: id, Err: fmt.Errorf(format, args...)})
}

func (r *reader) refuse(id rule.ID, hint, format string, args ...any) {
	r.n.Refusals = append(r.n.Refusals, &rule.Unsupported{File: r.file, Rule: id, What: fmt.Sprintf(format, args...), Hint: hint})
}

var versionForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})$`)

// version reads lora.spec: LT001, LT002.
func (r *reader) version() error {
	v, ok := r.h.Meta(KeySpec)
	if !ok {
		return nil
	}
	m := versionForm.FindStringSubmatch(v)
	if m == nil {
		return r.fault("LT001", "%s is %s, expected two numbers such as %s", KeySpec, short(v), Spec)
	}
	r.n.Version = v
	r.minor, _ = strconv.Atoi(m[2])
	if m[1] != strconv.Itoa(Major) {
		r.refuse("LT002", "update loratool", "version %s of the specification", v)
	}
	return nil
}

var featureForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// required reads lora.required_features: LT003, LT004. Version 1.0 has none.
func (r *reader) required() error {
	v, ok := r.h.Meta(KeyRequired)
	if !ok || v == "" {
		return nil
	}
	for f := range strings.SplitSeq(v, " ") {
		switch {
		case !featureForm.MatchString(f):
			return r.fault("LT004", "%s is %s: %s is no name of a feature", KeyRequired, short(v), short(f))
		case slices.Contains(r.n.Required, f):
			return r.fault("LT004", "%s names %s twice", KeyRequired, f)
		}
		r.n.Required = append(r.n.Required, f)
	}
	for _, f := range r.n.Required {
		r.refuse("LT003", "update loratool: the file cannot be understood without it", "required feature %q", f)
	}
	return nil
}

// object decodes a value that is a JSON object.
func (r *reader) object(key string) (v strictjson.Value, present bool, err error) {
	text, ok := r.h.Meta(key)
	if !ok {
		return v, false, nil
	}
	v, err = strictjson.Decode([]byte(text))
	if err == nil && v.Kind != strictjson.Object {
		err = fmt.Errorf("found %s, expected an object", v.Kind)
	}
	return v, true, err
}

// base reads the binding: LT005, LT006.
func (r *reader) base() error {
	table, hasTable, err := r.object(KeyBaseTensors)
	print, hasPrint := r.h.Meta(KeyFingerprint)
	if hasTable != hasPrint {
		return r.fault("LT006", "one of %s and %s is there without the other", KeyBaseTensors, KeyFingerprint)
	}
	if !hasTable {
		return nil
	}
	if err != nil {
		return r.fault("LT005", "%s: %w", KeyBaseTensors, err)
	}
	weights := make([]Weight, 0, len(table.Members))
	for _, m := range table.Members {
		w, err := parseWeight(m)
		if err != nil {
			return r.fault("LT005", "%s: %s: %w", KeyBaseTensors, short(m.Name), err)
		}
		weights = append(weights, w)
	}
	if want := Fingerprint(weights); print != want {
		return r.fault("LT006", "%s is %s, the table gives %s", KeyFingerprint, short(print), want)
	}
	r.n.Base = weights
	return nil
}

func parseWeight(m strictjson.Member) (Weight, error) {
	w := Weight{Name: m.Name}
	if m.Name == "" || strings.ContainsFunc(m.Name, func(c rune) bool { return c < 0x20 || c == 0x7F }) {
		return w, fmt.Errorf("a name of printing characters is expected")
	}
	d, _ := m.Value.Lookup("dtype")
	shape, _ := m.Value.Lookup("shape")
	digest, _ := m.Value.Lookup("sha256")
	var ok bool
	if w.DType, ok = dtype.Parse(d.Text); d.Kind != strictjson.String || !ok {
		return w, fmt.Errorf("dtype is not one of the format")
	}
	if shape.Kind != strictjson.Array || len(shape.Elements) > maxDims {
		return w, fmt.Errorf("shape is not a list of at most %d numbers", maxDims)
	}
	for _, e := range shape.Elements {
		n, err := strconv.Atoi(e.Text)
		if e.Kind != strictjson.Number || err != nil || n < 0 {
			return w, fmt.Errorf("shape is not a list of unsigned integers")
		}
		w.Shape = append(w.Shape, n)
	}
	w.Digest, ok = parseDigest(digest)
	if !ok {
		return w, fmt.Errorf("sha256 is not 64 lower-case hexadecimal digits")
	}
	return w, nil
}

func parseDigest(v strictjson.Value) (d Digest, ok bool) {
	if v.Kind != strictjson.String || len(v.Text) != 2*len(d) || strings.ToLower(v.Text) != v.Text {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(v.Text))
	return d, err == nil
}

// tensors reads the digests of the file's own tensors: LT009.
func (r *reader) tensors() error {
	table, ok, err := r.object(KeyTensors)
	if err != nil {
		return r.fault("LT009", "%s: %w", KeyTensors, err)
	}
	if !ok {
		return nil
	}
	digests := make(map[string]Digest, len(table.Members))
	for _, m := range table.Members {
		d, ok := parseDigest(m.Value)
		if !ok {
			return r.fault("LT009", "%s: %s: not 64 lower-case hexadecimal digits", KeyTensors, short(m.Name))
		}
		if _, there := r.h.Lookup(m.Name); !there {
			return r.fault("LT009", "%s names tensor %s, which is not in the file", KeyTensors, short(m.Name))
		}
		digests[m.Name] = d
	}
	for _, t := range r.h.Tensors() {
		if _, ok := digests[t.Name]; !ok {
			return r.fault("LT009", "%s does not name tensor %s", KeyTensors, short(t.Name))
		}
	}
	r.n.Tensors = digests
	return nil
}

// modules reads ranks and alphas, each a list [rank, alpha]: LT010.
func (r *reader) modules() error {
	table, ok, err := r.object(KeyModules)
	if err != nil {
		return r.fault("LT010", "%s: %w", KeyModules, err)
	}
	if !ok {
		return nil
	}
	r.n.Modules = make([]Scale, 0, len(table.Members))
	for _, m := range table.Members {
		s := Scale{Module: m.Name}
		list := m.Value.Elements
		if len(list) != 2 || list[0].Kind != strictjson.Number || list[1].Kind != strictjson.Number {
			return r.fault("LT010", "%s: %s: expected a list of rank and alpha", KeyModules, short(m.Name))
		}
		var err1, err2 error
		s.Rank, err1 = strconv.Atoi(list[0].Text)
		s.Alpha, err2 = strconv.ParseFloat(list[1].Text, 64)
		if err1 != nil || err2 != nil || s.Rank < 1 {
			return r.fault("LT010", "%s: %s: expected a rank of 1 or more and a finite alpha", KeyModules, short(m.Name))
		}
		r.n.Modules = append(r.n.Modules, s)
	}
	return nil
}

// lint looks for what readers do not need: LT011, LT013, LT014.
func (r *reader) lint() {
	for _, p := range r.h.Metadata() {
		if strings.HasPrefix(p.Key, Prefix) && !slices.Contains(keys, p.Key) && r.minor <= Minor && len(r.n.Refusals) == 0 {
			r.warn("LT011", "metadata key %s is not known in version %s", short(p.Key), Spec)
		}
	}
	if _, _, err := r.object(KeyProvenance); err != nil {
		r.warn("LT013", "%s: %w", KeyProvenance, err)
	}
	if f, ok := r.h.Meta("format"); !ok || f != "pt" {
		r.warn("LT014", "metadata has no format pt")
	}
}

// short quotes text from the file, cut to a readable length.
func short(s string) string {
	const most = 100
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
