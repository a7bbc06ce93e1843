package validate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/format/validate"
	"github.com/loratool/loratool/testdata/fixture"
	"github.com/loratool/loratool/testdata/hostile"
)

func run(t testing.TB, o validate.Options, paths ...string) *validate.Report {
	t.Helper()
	r, err := validate.Run(context.Background(), paths, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rules lists what was found, as "ID severity".
func rules(r *validate.Report) (all []string) {
	for _, res := range r.Results {
		for _, f := range res.Findings {
			all = append(all, fmt.Sprintf("%s %s", f.Rule, f.Severity))
		}
	}
	return all
}

// TestHostile holds the verdict on every case of the corpus against that of
// the readers, which stop at the first broken rule: it must be among ours.
func TestHostile(t *testing.T) {
	for _, c := range hostile.Cases() {
		if c.Big {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			path, err := c.Create(t.TempDir())
			if err != nil {
				t.Skip(err)
			}
			r := run(t, validate.Options{}, path)
			found := rules(r)
			n := r.Count()
			switch c.Want {
			case "accept":
				if n.Errors+n.Unsupported+n.Failures > 0 {
					t.Errorf("accepted by the readers, but %v %+v", found, n)
				}
			case "unsupported":
				if n.Unsupported == 0 && n.Failures == 0 {
					t.Errorf("not supported by the readers, but %v", found)
				}
			case "error":
				if n.Failures+n.Errors == 0 && len(found) == 0 {
					t.Errorf("refused by the system, but %+v", n)
				}
			default:
				if !slices.Contains(found, c.Want+" error") {
					t.Errorf("%v, want %s among them", found, c.Want)
				}
			}
			for _, w := range c.Warn {
				if c.Want == "accept" && !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, w+" ") }) {
					t.Errorf("%v, want a warning %s", found, w)
				}
			}
			checkFormats(t, r)
		})
	}
}

// TestHostileAdapters does the same for adapters, held against their base with
// all values read. What only a merge can find, such as an overflow, passes.
func TestHostileAdapters(t *testing.T) {
	for _, c := range hostile.AdapterCases() {
		if c.Big {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			path, err := c.Create(dir)
			if err != nil {
				t.Skip(err)
			}
			o := validate.Options{Deep: true}
			if base, err := checkpoint.Open(filepath.Join(dir, hostile.BaseName), checkpoint.Options{}); err == nil {
				defer base.Close()
				o.Base = base
			}
			r := run(t, o, path)
			found, n := rules(r), r.Count()
			switch c.Want {
			case "accept":
				if n.Errors+n.Unsupported+n.Failures > 0 {
					t.Errorf("a merge accepts it, but %v %+v", found, n)
				}
			case "unsupported":
				contradiction := slices.Contains(found, "AD020 warning") || slices.Contains(found, "AD031 warning")
				if n.Unsupported+n.Failures+n.Errors == 0 && !contradiction {
					t.Errorf("a merge does not support it, but %v", found)
				}
			case "AD045", "error":
			case "AD001": // an empty folder has nothing to check, which is a failure
				if n.Failures+n.Errors == 0 {
					t.Errorf("found %v", found)
				}
			case "AD028": // a replacement that the base lacks is for the merge to ask about
				if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, "AD028 ") }) {
					t.Errorf("found %v", found)
				}
			default:
				if !slices.Contains(found, c.Want+" error") {
					t.Errorf("%v, want %s among them", found, c.Want)
				}
			}
			checkFormats(t, r)
		})
	}
	if _, err := os.Stat("/tmp/loratool_pwned"); err == nil {
		t.Error("a pickle was run")
	}
}

// checkFormats writes a report in every format: no raw control byte, no
// character that steers a terminal, and JSON and XML that parse.
func checkFormats(t *testing.T, r *validate.Report) {
	t.Helper()
	for _, f := range []validate.Format{validate.Text, validate.JSON, validate.SARIF, validate.JUnit, validate.GitHub, validate.GitLab} {
		var b bytes.Buffer
		if err := r.Write(&b, f); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if i := strings.IndexFunc(b.String(), func(c rune) bool {
			return c < 0x20 && c != '\n' || c == 0x7F || 0x80 <= c && c < 0xA0 || 0x200B <= c && c <= 0x200F || 0x202A <= c && c <= 0x202E || c == 0xFEFF || c == 0xFFFD
		}); i >= 0 {
			t.Errorf("%s: control character at byte %d: %q", f, i, b.String()[i:min(i+20, b.Len())])
		}
		switch f {
		case validate.JSON, validate.SARIF, validate.GitLab:
			if !json.Valid(b.Bytes()) {
				t.Errorf("%s is not JSON", f)
			}
		case validate.JUnit:
			if err := xml.Unmarshal(b.Bytes(), new(struct{ XMLName xml.Name })); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
}

// adapter writes an adapter folder with the config and the tensors given.
func adapter(t testing.TB, dir, config string, tensors ...safetensors.NamedData) string {
	t.Helper()
	fixture.Write(t, filepath.Join(dir, "adapter_model.safetensors"), tensors...)
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// values makes a tensor of one value.
func values(name string, x float64, d dtype.DType, shape ...int) safetensors.NamedData {
	n := 1
	for _, s := range shape {
		n *= s
	}
	all := make([]float64, n)
	for i := range all {
		all[i] = x
	}
	data := make([]byte, n*d.Bits()/8)
	d.Encode64(data, all)
	return safetensors.NamedData{Name: name, DType: d, Shape: shape, Data: data}
}

const config = `{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q"], "base_model_name_or_path": "o/b"}`

func factors(x, y float64, d dtype.DType) []safetensors.NamedData {
	return []safetensors.NamedData{values("base_model.model.l.q.lora_A.weight", x, d, 2, 3), values("base_model.model.l.q.lora_B.weight", y, d, 4, 2)}
}

// TestAllFindings: one adapter with many faults, all of them found at once.
func TestAllFindings(t *testing.T) {
	dir := adapter(t, filepath.Join(t.TempDir(), "a"),
		`{"peft_type": "LORA", "r": 2, "lora_alpha": "4", "bias": "some", "use_dora": 1, "R": 3, "zzz": 5, "target_modules": ["q", "x"]}`,
		slices.Concat(factors(1, 1, dtype.F32), []safetensors.NamedData{
			values("base_model.model.l.k.lora_A.weight", 1, dtype.F32, 2, 3),
			values("base_model.model.l.v.lora_A.weight", 1, dtype.F32, 3, 3), values("base_model.model.l.v.lora_B.weight", 1, dtype.F32, 4, 3),
			values("base_model.model.l.o.lora_A.weight", 1, dtype.F32, 2, 3), values("base_model.model.l.o.lora_B.weight", 1, dtype.F32, 4, 3)})...)
	got := rules(run(t, validate.Options{}, dir))
	for _, want := range []string{"AD003 error", "AD005 error", "AD011 error", "AD012 error", "AD013 error", "AD021 warning", "AD030 warning", "AD035 warning", "AD036 warning"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among %v", want, got)
		}
	}
	if n := len(got); n < 10 {
		t.Errorf("%d findings", n)
	}
}

func TestOptions(t *testing.T) {
	dir := adapter(t, filepath.Join(t.TempDir(), "a"), strings.Replace(config, `"r": 2`, `"r": 3`, 1), factors(1, 1, dtype.F32)...)
	for _, c := range []struct {
		name string
		o    validate.Options
		want []string
	}{
		{"plain", validate.Options{}, []string{"AD012 error"}},
		{"ignored", validate.Options{Ignore: []string{"AD012"}}, nil},
		{"ignored by tensor", validate.Options{Ignore: []string{"AD012:*.q.lora_A.weight"}}, nil},
		{"ignored elsewhere", validate.Options{Ignore: []string{"AD012:*.k.lora_A.weight"}}, []string{"AD012 error"}},
		{"milder", validate.Options{Severity: map[rule.ID]rule.Severity{"AD012": rule.Info}}, []string{"AD012 info"}},
		{"off", validate.Options{Severity: map[rule.ID]rule.Severity{"AD012": rule.Off}}, nil},
	} {
		if got := rules(run(t, c.o, dir)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for _, o := range []validate.Options{{Ignore: []string{"AD999"}}, {Ignore: []string{"AD012:["}}, {Severity: map[rule.ID]rule.Severity{"XX": rule.Info}}} {
		if _, err := validate.Run(context.Background(), []string{dir}, o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// TestDeep puts a value at every place of a block and of its tail.
func TestDeep(t *testing.T) {
	types := []dtype.DType{dtype.F64, dtype.F32, dtype.F16, dtype.BF16, dtype.F8_E5M2, dtype.F8_E4M3, dtype.F8_E4M3FNUZ, dtype.F8_E5M2FNUZ}
	for _, d := range types {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			if math.IsInf(bad, 0) && (d == dtype.F8_E4M3 || d == dtype.F8_E4M3FNUZ || d == dtype.F8_E5M2FNUZ) {
				continue // they have no infinity
			}
			for _, at := range []int{0, 1, 7, 31, 32, 63, 64, 99, 100} {
				a := factors(1, d.MaxFinite(), d)
				a[0] = values(a[0].Name, -d.MaxFinite(), d, 2, 51)
				size := d.Bits() / 8
				d.Encode64(a[0].Data[at*size:][:size], []float64{bad})
				dir := adapter(t, filepath.Join(t.TempDir(), "a"), config, a...)
				r := run(t, validate.Options{Deep: true}, dir)
				if got := rules(r); !slices.Equal(got, []string{"AD017 error"}) {
					t.Fatalf("%v %v at %d: %v", d, bad, at, got)
				}
				if m := r.Results[0].Findings[0].Message; !strings.Contains(m, fmt.Sprintf("1 of 102 values are NaN or infinite, the first at element %d", at)) {
					t.Fatalf("%v %v at %d: %s", d, bad, at, m)
				}
			}
		}
		dir := adapter(t, filepath.Join(t.TempDir(), "a"), config, factors(d.MaxFinite(), 0, d)...)
		if got := rules(run(t, validate.Options{Deep: true}, dir)); !slices.Equal(got, []string{"AD018 warning"}) {
			t.Errorf("%v: B of zeros gives %v", d, got)
		}
	}
}

// TestWalk: what is found below a folder, each thing once.
func TestWalk(t *testing.T) {
	root := t.TempDir()
	adapter(t, filepath.Join(root, "one"), config, factors(1, 1, dtype.F32)...)
	adapter(t, filepath.Join(root, "one", "checkpoint-5"), config, factors(1, 1, dtype.F32)...)
	adapter(t, filepath.Join(root, ".hidden"), "nonsense")
	for _, name := range []string{"loras/a.safetensors", "loras/b.safetensors", "base/model-00001-of-00002.safetensors", "base/model-00002-of-00002.safetensors"} {
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o777); err != nil {
			t.Fatal(err)
		}
		header := hostile.Object(hostile.Entry(filepath.Base(name), "U8", "[1]", "[0,1]"))
		if strings.HasPrefix(name, "loras") {
			header = hostile.Object(hostile.Entry("same", "U8", "[1]", "[0,1]"))
		}
		if err := os.WriteFile(full, hostile.File(header, 1), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, validate.Options{}, root, filepath.Join(root, "one"))
	kinds := map[validate.Kind]int{}
	for _, res := range r.Results {
		kinds[res.Kind]++
	}
	if n := r.Count(); kinds[validate.Adapter] != 2 || kinds[validate.File] != 2 || kinds[validate.Checkpoint] != 1 || n.Errors+n.Warnings+n.Failures != 0 {
		t.Errorf("found %v, %v", kinds, rules(r))
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err == nil {
		if n := len(run(t, validate.Options{}, link).Results); n != len(r.Results) {
			t.Errorf("a link to the folder shows %d things, the folder %d", n, len(r.Results))
		}
	}
	empty := run(t, validate.Options{}, t.TempDir(), filepath.Join(root, "absent"))
	if n := empty.Count(); n.Failures != 2 {
		t.Errorf("an empty folder and an absent one give %+v", n)
	}
}

// TestGitHub: what a file says cannot end a workflow command or begin another.
func TestGitHub(t *testing.T) {
	name := "x\n::error::forged%0A, file=y:z"
	dir := adapter(t, filepath.Join(t.TempDir(), "a"), config, append(factors(1, 1, dtype.F32), values(name, 1, dtype.F32, 1))...)
	r := run(t, validate.Options{}, dir)
	var b bytes.Buffer
	if err := r.Write(&b, validate.GitHub); err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`^::(error|warning|notice) file=[^,\n]*,title=[^,:\n]*::[^\n]*$`)
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for _, l := range lines[:len(lines)-1] {
		if !command.MatchString(l) || strings.Contains(l, "%0A,") {
			t.Errorf("line %q", l)
		}
	}
	if len(lines) != len(rules(r))+1 {
		t.Errorf("%d lines for %d findings", len(lines), len(rules(r)))
	}
}

func TestProfiles(t *testing.T) {
	for _, p := range validate.Profiles() {
		if p.Program == "" || p.Source == "" || len(p.Limits) == 0 || !slices.IsSorted(p.Steps) {
			t.Errorf("profile %s is incomplete", p.Name)
		}
		seen := map[rule.ID]bool{}
		for _, l := range p.Limits {
			if r, ok := rule.Lookup(l.Rule); !ok || r.ID[:2] != "PF" || l.Effect == "" || seen[l.Rule] {
				t.Errorf("profile %s: limit %+v", p.Name, l)
			}
			seen[l.Rule] = true
		}
	}
	if _, err := validate.ParseProfile("nobody"); err == nil || !strings.Contains(err.Error(), "vllm") {
		t.Errorf("%v", err)
	}
}

func BenchmarkDeep(b *testing.B) {
	path := filepath.Join(b.TempDir(), "model.safetensors")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	const n = 64 << 20
	if err := safetensors.Write(f, []safetensors.NamedData{values("w", 1.5, dtype.BF16, n/2)}, nil); err != nil {
		b.Fatal(err)
	}
	f.Close()
	b.SetBytes(n)
	for b.Loop() {
		run(b, validate.Options{Deep: true}, path)
	}
}

func Example() {
	dir, _ := os.MkdirTemp("", "adapter")
	defer os.RemoveAll(dir)
	var t testing.T
	adapter(&t, dir, strings.Replace(config, `"r": 2`, `"r": 8`, 1), factors(1, 1, dtype.F32)...)
	report, err := validate.Run(context.Background(), []string{dir}, validate.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range report.Results[0].Findings {
		fmt.Println(f.Rule, f.Severity, f.Message)
	}
	// Output: AD012 error shape [2 3], config says rank 8
}

// TestChangedWhileRead cuts a file within its last page, which reads as zeros
// from there on and is no fault, while all values are read.
func TestChangedWhileRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	fixture.Write(t, path, safetensors.NamedData{Name: "x", DType: dtype.F32, Shape: []int{8}, Data: make([]byte, 32)})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(int64) {
		if err := os.Truncate(path, info.Size()-4); err != nil {
			t.Error(err)
		}
	}
	r := run(t, validate.Options{Deep: true, Progress: cut}, path)
	if n := r.Count(); n.Failures != 1 || !errors.Is(r.Results[0].Err, safetensors.ErrChanged) {
		t.Errorf("%+v, %v", n, r.Results[0].Err)
	}
}

// TestUnreadableFolder walks a folder that holds one whose path is too long
// for the system: what stands after it is checked all the same.
func TestUnreadableFolder(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("paths have another limit")
	}
	dir := t.TempDir()
	for _, name := range []string{"a", "z"} {
		fixture.Write(t, filepath.Join(dir, name, "x.safetensors"), safetensors.NamedData{Name: "x", DType: dtype.F32, Shape: []int{1}, Data: make([]byte, 4)})
	}
	t.Chdir(dir)
	for range 25 {
		name := strings.Repeat("d", 200)
		if err := os.Mkdir(name, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chdir(name); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, validate.Options{}, dir)
	if n := r.Count(); n.Failures != 1 || len(r.Results) != 3 {
		t.Errorf("%d results, %+v", len(r.Results), n)
	}
}
