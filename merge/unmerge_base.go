package merge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/record"
	"github.com/loratool/loratool/format/safetensors"
)

// A recordedBase is a base as its record knows it: headers without data.
type recordedBase struct {
	dir     string
	headers []*safetensors.Header // by shard
	shards  map[string]int
	names   []string
}

// Lookup, Names and Dir implement adapter.Tensors.
func (b *recordedBase) Lookup(name string) (int, safetensors.Tensor, bool) {
	shard, ok := b.shards[name]
	if !ok {
		return 0, safetensors.Tensor{}, false
	}
	t, _ := b.headers[shard].Lookup(name)
	return shard, t, true
}
func (b *recordedBase) Names() []string { return b.names }
func (b *recordedBase) Dir() string     { return b.dir }

// readBase reads the headers of the base: RC015.
func readBase(r *record.Reader) (*recordedBase, error) {
	b := &recordedBase{shards: map[string]int{}}
	if r.Base.Folder {
		b.dir = "the base in the record"
	}
	for i, s := range r.Base.Shards {
		raw, err := r.Inflate(s.Header, s.Raw)
		if err != nil {
			return nil, err
		}
		h, err := safetensors.ReadHeader(bytes.NewReader(raw), s.Bytes, s.Name)
		switch {
		case errors.Is(err, io.EOF), err == nil && len(h.Raw()) != len(raw), err == nil && h.DataStart()+h.DataSize() != s.Bytes:
			return nil, r.Fault("RC015", "", "file %q: header of %d bytes for a file of %d", s.Name, len(raw), s.Bytes)
		case err != nil:
			return nil, r.Fault("RC015", "", "%w", err)
		}
		b.headers = append(b.headers, h)
		for _, t := range h.Tensors() {
			if _, ok := b.shards[t.Name]; ok {
				return nil, r.Fault("RC015", t.Name, "in two files")
			}
			b.shards[t.Name] = i
			b.names = append(b.names, t.Name)
		}
	}
	slices.Sort(b.names)
	return b, nil
}

// recordedConfig returns the config.json of the base: from the record if the
// merge changed it, else from the merged folder.
func recordedConfig(r *record.Reader, merged *checkpoint.Checkpoint) (*checkpoint.Config, error) {
	for _, f := range r.Base.Files {
		if f.Name != "config.json" {
			continue
		}
		data, err := recordedFile(r, f, merged)
		if err != nil {
			return nil, err
		}
		return checkpoint.ParseConfig(data, f.Name)
	}
	return &checkpoint.Config{}, nil
}

// maxConfig is the largest config.json that is read from a merged folder.
const maxConfig = 8 << 20

// recordedFile returns the bytes of a small file of the base.
func recordedFile(r *record.Reader, f record.File, merged *checkpoint.Checkpoint) ([]byte, error) {
	var data []byte
	var err error
	if f.Content != nil {
		if data, err = r.Inflate(*f.Content, f.Bytes); err != nil {
			return nil, err
		}
	} else {
		path := filepath.Join(merged.Dir(), filepath.FromSlash(f.Name))
		if data, err = safetensors.ReadRegular(path, maxConfig); err != nil {
			return nil, r.Fault("RC011", "", "file %q: %w", f.Name, err)
		}
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != f.SHA256 {
		return nil, r.Fault("RC011", "", "file %q differs from what was there when the record was written", f.Name)
	}
	return data, nil
}

// orderAdapters returns the adapters in the order of the merge: RC012.
func orderAdapters(r *record.Reader, adapters []Weighted) ([]Weighted, error) {
	if len(adapters) != len(r.Adapters) {
		return nil, r.Fault("RC012", "", "%d adapters, %d were merged", len(adapters), len(r.Adapters))
	}
	files := make([][]record.File, len(adapters))
	for i, a := range adapters {
		var err error
		if files[i], err = adapterFiles(a.Source); err != nil {
			return nil, err
		}
	}
	ordered, used := make([]Weighted, 0, len(adapters)), make([]bool, len(adapters))
	for _, want := range r.Adapters {
		found := -1
		for i, a := range adapters {
			if !used[i] && a.Weight == want.Weight && sameFiles(files[i], want.Files) {
				found = i
				break
			}
		}
		if found < 0 {
			return nil, r.Fault("RC012", "", "%w", adapterMismatch(want, adapters, files))
		}
		used[found] = true
		ordered = append(ordered, adapters[found])
	}
	return ordered, nil
}

// adapterMismatch says what is different about the adapter that comes nearest.
func adapterMismatch(want record.Adapter, adapters []Weighted, files [][]record.File) error {
	for i, a := range adapters {
		if sameFiles(files[i], want.Files) {
			return fmt.Errorf("%q was merged with weight %v, not %v", want.Name, want.Weight, a.Weight)
		}
		for k, f := range files[i] {
			if filepath.Base(a.Source) == want.Name && k < len(want.Files) && f.SHA256 != want.Files[k].SHA256 {
				return fmt.Errorf("file %q of %q is not the one that was merged: SHA-256 %s, expected %s", f.Name, want.Name, f.SHA256, want.Files[k].SHA256)
			}
		}
	}
	return fmt.Errorf("%q with weight %v was merged and is not among the adapters", want.Name, want.Weight)
}

func sameFiles(a, b []record.File) bool {
	return slices.EqualFunc(a, b, func(x, y record.File) bool { return x.SHA256 == y.SHA256 && x.Bytes == y.Bytes })
}

// openMerged finds the file of each merged shard in the record, and prepares
// to compare it: RC011.
func (u *Unmerge) openMerged() error {
	r, shards := u.record, u.merged.Shards()
	if len(shards) != len(r.Merged) {
		return r.Fault("RC011", "", "%d weights files, %d were written", len(shards), len(r.Merged))
	}
	if r.Base.Folder != (u.merged.Dir() != "") {
		return r.Fault("RC011", "", "it was written as a %s", map[bool]string{true: "folder", false: "file"}[r.Base.Folder])
	}
	u.intact = make([]*intact, len(shards))
	for _, m := range r.Merged {
		i := slices.IndexFunc(shards, func(s checkpoint.Shard) bool { return s.Name == m.Name })
		if i < 0 && u.merged.Dir() == "" {
			i = 0 // a file may have got another name
		}
		if i < 0 {
			return r.Fault("RC011", "", "there is no file %q", m.Name)
		}
		var err error
		if u.intact[i], err = newIntact(r, m, shards[i].File, u.progress); err != nil {
			return err
		}
	}
	return nil
}

// checkOthers compares the files beside the weights that will be copied:
// RC011.
func checkOthers(r *record.Reader, dir string) error {
	for _, f := range r.Base.Files {
		if f.Content != nil {
			continue
		}
		got, err := fileDigest(filepath.Join(dir, filepath.FromSlash(f.Name)))
		if err != nil {
			return r.Fault("RC011", "", "file %q: %w", f.Name, err)
		}
		if got.SHA256 != f.SHA256 {
			return r.Fault("RC011", "", "file %q differs from what was there when the record was written", f.Name)
		}
	}
	return nil
}

// tensorsIn names the tensors of a piece of a file.
func tensorsIn(h *safetensors.Header, start int64) string {
	var names []string
	more := 0
	for _, t := range h.Tensors() {
		if h.DataStart()+t.Begin >= start+record.PieceBytes || h.DataStart()+t.End <= start {
			continue
		}
		if len(names) == 3 {
			more++
			continue
		}
		names = append(names, fmt.Sprintf("%q", t.Name))
	}
	what := "tensor "
	switch {
	case start < h.DataStart():
		what = "its header, or tensor "
	case len(names) > 1:
		what = "one of the tensors "
	}
	for i, n := range names {
		if i > 0 {
			what += ", "
		}
		what += n
	}
	if more > 0 {
		what += fmt.Sprintf(" and %d more", more)
	}
	return what
}
