package merge

import (
	"cmp"
	"encoding/binary"
	"math"
	"os"
	"slices"
	"strconv"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/record"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
)

// UnmergeOptions change what NewUnmerge makes.
type UnmergeOptions struct {
	Force bool          // replaces an output that exists
	Names adapter.Rules // as Options.Names, of the merge
	// AllowBaseMismatch restores a base that an adapter is not bound to, as
	// Options.AllowBaseMismatch merged into it.
	AllowBaseMismatch bool
	// Progress is called from several goroutines with the bytes done since the
	// last call, of as many as Unmerge.Bytes says. May be nil.
	Progress func(bytes int64)
}

// An Unmerge is a plan to restore the base of a merged checkpoint.
type Unmerge struct {
	merged   *checkpoint.Checkpoint
	adapters []Weighted
	record   *record.Reader // nil: without a record
	options  UnmergeOptions
	base     adapter.Tensors
	intact   []*intact // by shard of merged; nil without a record
	targets  *targets
	files    []restoredFile
	entries  map[string]record.Tensor // of the record, by kind and name
	changes  []*change
}

// A restoredFile is a weights file of the base.
type restoredFile struct {
	name     string
	size     int64
	digest   string // "" without a record
	header   *safetensors.Header
	segments []segment
	copyOf   *intact // the merged file that has the same bytes, or nil
}

// OpenRecord opens a record. Close the file when the reader is no longer used.
func OpenRecord(path string) (*record.Reader, *os.File, error) {
	f, info, err := safetensors.OpenRegular(path)
	if err != nil {
		return nil, nil, err
	}
	r, err := record.NewReader(f, info.Size(), path)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return r, f, nil
}

// NewUnmerge plans to restore the base that a record belongs to. The adapters
// are those that were merged, in any order, with the weights of the merge. It
// reads headers and the adapters; Write compares the digests of the merged
// files.
func NewUnmerge(merged *checkpoint.Checkpoint, adapters []Weighted, r *record.Reader, o UnmergeOptions) (*Unmerge, error) {
	u := &Unmerge{merged: merged, record: r, options: o, entries: map[string]record.Tensor{}}
	if r.Arithmetic != ArithmeticVersion {
		return nil, &rule.Unsupported{File: r.Path(), What: "arithmetic " + strconv.Quote(r.Arithmetic), Hint: "use the version of loratool that merged"}
	}
	var err error
	if u.adapters, err = orderAdapters(r, adapters); err != nil {
		return nil, err
	}
	base, err := readBase(r)
	if err != nil {
		return nil, err
	}
	u.base = base
	if err := u.openMerged(); err != nil {
		return nil, err
	}
	config, err := recordedConfig(r, merged)
	if err != nil {
		return nil, err
	}
	merge, err := recordedOptions(r)
	if err != nil {
		return nil, err
	}
	merge.Names = o.Names
	if u.targets, err = gatherTargets(adapter.View{Tensors: base, Config: config}, u.adapters, merge); err != nil {
		return nil, err
	}
	for _, t := range r.Tensors {
		u.entries[t.Kind+t.Name] = t
	}
	for i, s := range r.Base.Shards {
		if err := u.addFile(&restoredFile{name: s.Name, size: s.Bytes, digest: s.Digest, header: base.headers[i]}); err != nil {
			return nil, err
		}
	}
	for _, t := range u.entries {
		return nil, r.Fault("RC016", t.Name, "%s of a tensor that was not changed so", t.Kind)
	}
	return u, nil
}

// recordedOptions are the options that the merge had.
func recordedOptions(r *record.Reader) (o Options, err error) {
	o.Skip, o.AddMissing = r.Skip, r.AddMissing
	if r.Rounding == "stochastic" {
		o.Rounding = Stochastic
		if o.Seed, err = strconv.ParseUint(r.Seed, 10, 64); err != nil {
			return o, r.Fault("RC006", "", "seed %q", r.Seed)
		}
	}
	if r.DType != "" {
		d, ok := dtype.Parse(r.DType)
		if !ok || !d.Float() {
			return o, r.Fault("RC006", "", "dtype %q", r.DType)
		}
		o.DType = d
	}
	return o, nil
}

// addFile plans a file of the base.
func (u *Unmerge) addFile(f *restoredFile) error {
	h := f.header
	f.segments = []segment{{size: h.DataStart(), raw: h.Raw()}}
	for _, t := range h.Tensors() {
		s, err := u.segment(t)
		if err != nil {
			return err
		}
		s.offset, s.size = h.DataStart()+t.Begin, t.End-t.Begin
		if s.size > 0 {
			f.segments = append(f.segments, s)
		}
	}
	if u.record != nil {
		f.copyOf = u.sameFile(f)
	}
	u.files = append(u.files, *f)
	return nil
}

// sameFile returns the merged file that has the bytes of f.
func (u *Unmerge) sameFile(f *restoredFile) *intact {
	for _, m := range u.record.Merged {
		for _, x := range u.intact {
			if m.Same == f.name && m.Bytes == f.size && x.name == m.Name {
				return x
			}
		}
	}
	return nil
}

// take returns an entry of the record, once.
func (u *Unmerge) take(kind, name string) (record.Tensor, error) {
	t, ok := u.entries[kind+name]
	if !ok {
		return t, u.record.Fault("RC016", name, "no %s of it", kind)
	}
	delete(u.entries, kind+name)
	return t, nil
}

// segment plans the bytes of a tensor of the base.
func (u *Unmerge) segment(t safetensors.Tensor) (segment, error) {
	target := cmp.Or(u.targets.byName[t.Name], &target{name: t.Name, source: t.Name})
	if target.replace != nil {
		v, err := u.verbatim(t.Name, t.DType, t.End-t.Begin)
		if err != nil {
			return segment{}, err
		}
		return segment{read: v.read}, nil
	}
	shard, m, ok := u.merged.Lookup(t.Name)
	if !ok || !slices.Equal(m.Shape, t.Shape) || m.DType != u.targets.options.outDType(t.DType) {
		return segment{}, u.record.Fault("RC011", t.Name, "it is not there, or has another shape or dtype")
	}
	from, check := &origin{u.merged.Shards()[shard].File, m}, u.checker(shard, m)
	source := from.file.Bytes(m)
	if len(target.updates)+len(target.biases)+len(target.rows) == 0 && m.DType == t.DType {
		return segment{raw: source, origin: from, check: check}, nil
	}
	ch := newChange(m, t, source)
	if err := u.targets.options.fillChange(ch, target, t.Shape); err != nil {
		return segment{}, err
	}
	if err := u.invert(ch, check); err != nil {
		return segment{}, err
	}
	u.changes = append(u.changes, ch)
	return segment{change: ch, origin: from}, nil
}

// checker compares bytes [from, to) of a merged tensor with the record; nil
// without one.
func (u *Unmerge) checker(shard int, m safetensors.Tensor) func(from, to int64) error {
	if u.record == nil {
		return nil
	}
	f := u.intact[shard]
	at := f.file.Header().DataStart() + m.Begin
	return func(from, to int64) error { return f.check(at+from, at+to) }
}

func (u *Unmerge) verbatim(name string, d dtype.DType, size int64) (*verbatim, error) {
	t, err := u.take(record.Verbatim, name)
	if err != nil {
		return nil, err
	}
	return openVerbatim(u.record, t, max(1, d.Bits()/8), size)
}

// invert turns a change around.
func (u *Unmerge) invert(ch *change, check func(from, to int64) error) (err error) {
	for _, plane := range ch.terms {
		for i := range plane {
			plane[i].coefficient = -plane[i].coefficient
		}
	}
	v := &inverse{record: u.record, check: check}
	ch.inverse = v
	if u.record == nil {
		return nil
	}
	if v.tensor, err = u.take(record.Preimages, ch.out.Name); err != nil {
		return err
	}
	elements := ch.planes * ch.rows * ch.cols
	if v.table, err = u.record.Table(v.tensor, (elements+record.BlockElements-1)/record.BlockElements); err != nil {
		return err
	}
	if len(ch.replaced) > 0 {
		if v.rows, err = u.verbatim(ch.out.Name, ch.in, int64(len(ch.replaced)*ch.cols*ch.in.Bits()/8)); err != nil {
			return err
		}
	}
	return u.readGains(ch, v.tensor)
}

// readGains reads the gains of a scaled tensor.
func (u *Unmerge) readGains(ch *change, t record.Tensor) error {
	if (ch.dora != nil) != (t.Gains != nil) {
		return u.record.Fault("RC016", t.Name, "gains of a tensor without magnitude, or none of one with it")
	}
	if ch.dora == nil {
		return nil
	}
	n := ch.dora.outputs
	if t.Gains.Len != int64(8*n) {
		return u.record.Fault("RC016", t.Name, "%d bytes of gains for %d outputs", t.Gains.Len, n)
	}
	raw, err := u.record.Read(*t.Gains)
	if err != nil {
		return err
	}
	ch.dora.gain, ch.dora.radius = make([]float64, n), math.Ldexp(1, -t.Radius)
	for i := range n {
		g := math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
		if !finite(g) {
			return u.record.Fault("RC016", t.Name, "gain %v of output %d", g, i)
		}
		ch.dora.gain[i] = g
	}
	return nil
}

// Bytes returns how many bytes Write reads for their digests and writes.
func (u *Unmerge) Bytes() (n int64) {
	for _, f := range u.files {
		n += f.size
	}
	if u.record != nil {
		n += u.merged.Size()
	}
	return n
}

// OnProgress sets the callback that UnmergeOptions.Progress sets.
func (u *Unmerge) OnProgress(f func(bytes int64)) { u.options.Progress = f }

func (u *Unmerge) progress(n int64) {
	if u.options.Progress != nil {
		u.options.Progress(n)
	}
}
