package binding

import (
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"path/filepath"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/mmap"
	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/internal/strictjson"
)

// WriteOptions say how Write writes. The zero value is the default.
type WriteOptions struct {
	Options
	Force bool // replace an adapter that exists
}

// A Report says what Write did.
type Report struct {
	Output      string `json:"output"`
	Fingerprint string `json:"fingerprint"`
	Weights     int    `json:"weights"`
	Bytes       int64  `json:"bytes_digested"`
}

// Write writes a copy of an adapter that is bound to a base: its folder with
// every file as it is, but for the header of the weights, which gets the
// digests of the base's weights and of its own tensors.
func Write(ctx context.Context, out string, f *dialect.File, base *checkpoint.Checkpoint, o WriteOptions) (*Report, error) {
	if f.Weights == nil {
		return nil, f.Mergeable()
	}
	for _, u := range f.Refusals {
		if u.Rule == "LT002" || u.Rule == "LT003" { // what cannot be understood must not be rewritten
			return nil, u
		}
	}
	weights, err := Compute(ctx, f.Adapter, base, o.Options)
	if err != nil {
		return nil, err
	}
	tensors, digests, err := own(f)
	if err != nil {
		return nil, err
	}
	metadata := map[string]string{}
	for _, p := range f.Weights.Header().Metadata() {
		metadata[p.Key] = p.Value // known or not, of this version or a later one
	}
	n := note.Notes{Version: f.Notes.Version, Base: weights, Tensors: digests}
	maps.Copy(metadata, n.Metadata())
	metadata["format"] = "pt"
	report := &Report{Output: out, Fingerprint: note.Fingerprint(weights), Weights: len(weights), Bytes: Bytes(f.Adapter, base, o.Options)}
	metadata[note.KeyProvenance] = provenance(metadata[note.KeyProvenance], report.Fingerprint)
	return report, write(ctx, out, f, base, tensors, metadata, o.Force)
}

// own returns the tensors of the file and their digests.
func own(f *dialect.File) (tensors []safetensors.NamedData, digests map[string]note.Digest, err error) {
	digests = map[string]note.Digest{}
	err = mmap.Guard(func() {
		for _, t := range f.Weights.Header().Tensors() {
			data := f.Weights.Bytes(t)
			tensors = append(tensors, safetensors.NamedData{Name: t.Name, DType: t.DType, Shape: t.Shape, Data: data})
			digests[t.Name] = sha256.Sum256(data)
		}
	})
	return tensors, digests, err
}

// provenance adds a step to the history of a file. What cannot be read is
// replaced: it is for people only.
func provenance(old, fingerprint string) string {
	v, err := strictjson.Decode([]byte(old))
	if err != nil || v.Kind != strictjson.Object {
		v = strictjson.Value{Kind: strictjson.Object}
	}
	text := func(s string) strictjson.Value { return strictjson.Value{Kind: strictjson.String, Text: s} }
	step := strictjson.Value{Kind: strictjson.Object, Members: []strictjson.Member{
		{Name: "step", Value: text("bind")}, {Name: "tool", Value: text("loratool")}, {Name: "base", Value: text(fingerprint)}}}
	for i, m := range v.Members {
		if m.Name == "steps" && m.Value.Kind == strictjson.Array {
			v.Members[i].Value.Elements = append(m.Value.Elements, step)
			return string(v.Append(nil))
		}
	}
	v.Members = append(v.Members, strictjson.Member{Name: "steps", Value: strictjson.Value{Kind: strictjson.Array, Elements: []strictjson.Value{step}}})
	return string(v.Append(nil))
}

func write(ctx context.Context, out string, f *dialect.File, base *checkpoint.Checkpoint, tensors []safetensors.NamedData, metadata map[string]string, force bool) error {
	folder := filepath.Dir(f.Weights.Path())
	if err := publish.Alias(out, append(base.Inputs(), folder)...); err != nil {
		return err
	}
	d, err := publish.CreateDir(out, force)
	if err != nil {
		return err
	}
	defer d.Abort()
	if err := dialect.CopyBeside(ctx, d, folder, filepath.Base(f.Weights.Path())); err != nil {
		return err
	}
	w, err := d.Create(dialect.WeightsName)
	if err != nil {
		return err
	}
	defer w.Close()
	var fault error
	if err := mmap.Guard(func() { fault = safetensors.Write(w, tensors, metadata) }); err != nil {
		return err
	}
	if fault != nil {
		return fault
	}
	size, err := w.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	d.Expect(dialect.WeightsName, size)
	if err := w.Close(); err != nil {
		return err
	}
	if err := f.Weights.Unchanged(); err != nil {
		return err
	}
	return d.Commit()
}
