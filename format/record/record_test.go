package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/rule"
)

// TestIndexCode reads back every number of small ranges and some of large
// ones, at every position of a byte.
func TestIndexCode(t *testing.T) {
	type item struct{ v, last uint64 }
	var items []item
	for last := range uint64(70) {
		for v := range last + 1 {
			items = append(items, item{v, last})
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, last := range []uint64{1<<16 - 1, 1 << 16, 1<<32 - 2, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, math.MaxUint64 - 1, math.MaxUint64} {
		for range 20 {
			items = append(items, item{r.Uint64() % max(last, 1), last}, item{last, last}, item{0, last})
		}
	}
	for shift := range uint(8) {
		var b Bits
		b.Put(0, shift)
		length := int(shift)
		for _, x := range items {
			before := b.Len()
			b.PutIndex(x.v, x.last)
			if n := b.Len() - before; n > bits.Len64(x.last) {
				t.Fatalf("%d of %d takes %d bits", x.v, x.last, n)
			}
			length = b.Len()
		}
		if length != b.Len() {
			t.Fatal("length changed")
		}
		reader := NewBitReader(b.Finish())
		reader.take(shift)
		for _, x := range items {
			if got := reader.Index(x.last); got != x.v {
				t.Fatalf("shift %d: %d of %d, want %d", shift, got, x.last, x.v)
			}
		}
		if err := reader.Err(true); err != nil {
			t.Fatal(err)
		}
		if reader.Index(math.MaxUint64); reader.Err(false) == nil {
			t.Fatal("read beyond the end")
		}
	}
}

// TestIndices compares runs of indices with one after the other.
func TestIndices(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for n := range 300 {
		indices := make([]Index, n)
		var one, all Bits
		for i := range indices {
			last := uint16(1)
			if r.IntN(3) == 0 {
				last = uint16(r.Uint32() >> r.IntN(32))
			}
			indices[i] = Index{uint16(r.IntN(int(last) + 1)), last}
			one.PutIndex(uint64(indices[i].Value), uint64(last))
		}
		all.PutIndices(indices)
		code := all.Finish()
		if !slices.Equal(code, one.Finish()) {
			t.Fatalf("%d indices have another code than one after the other", n)
		}
		got := make([]Index, n)
		for i := range got {
			got[i].Last = indices[i].Last
		}
		reader := NewBitReader(code)
		if reader.Indices(got); !slices.Equal(got, indices) || reader.Err(true) != nil {
			t.Fatalf("read %v, %v, want %v", got, reader.Err(true), indices)
		}
		if n > 0 {
			reader = NewBitReader(code[:len(code)/2])
			if reader.Indices(got); len(code) > 1 && reader.Err(false) == nil {
				t.Fatal("read beyond the end")
			}
		}
	}
}

// TestAppend joins runs of bits of all lengths.
func TestAppend(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	var whole, joined Bits
	for range 500 {
		var part Bits
		n := r.IntN(40)
		for range n {
			bit := r.Uint64() & 1
			whole.Put(bit, 1)
			part.Put(bit, 1)
		}
		joined.Append(part.Finish(), n)
	}
	if whole.Len() != joined.Len() || !bytes.Equal(whole.Finish(), joined.Finish()) {
		t.Error("joined bits differ")
	}
}

// TestPlanes codes bytes of every kind without loss.
func TestPlanes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	var c PlaneCoder
	for _, width := range []int{1, 2, 4, 8} {
		for _, n := range []int{0, 1, 7, 1000, VerbatimBytes} {
			for kind := range 3 {
				src := make([]byte, n)
				for i := range src {
					switch kind {
					case 1:
						src[i] = byte(r.Uint32())
					case 2: // like the exponents of weights
						src[i] = byte(r.Uint32())
						if i%width == width-1 {
							src[i] = byte(60 + r.IntN(2))
						}
					}
				}
				code := c.Encode(nil, src, width)
				got := make([]byte, n)
				if err := c.Decode(got, code, width); err != nil {
					t.Fatalf("width %d, %d bytes, kind %d: %v", width, n, kind, err)
				}
				if !bytes.Equal(got, src) {
					t.Fatalf("width %d, %d bytes, kind %d: bytes differ", width, n, kind)
				}
				if len(code) > n+2*width+8 {
					t.Errorf("width %d, %d bytes, kind %d: code of %d bytes", width, n, kind, len(code))
				}
			}
		}
	}
}

// sample returns a record with a head that change may break.
func sample(t *testing.T, change func(h *Head)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	header, err := w.PutCompressed([]byte("header"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := w.Put([]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	sizes, err := w.PutSizes([]int{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	h := &Head{Version: Version, Arithmetic: "exact-1", Rounding: "nearest", Adapters: []Adapter{{Name: "a", Weight: 1}},
		Base: Base{Shards: []Shard{{Name: "base", Header: header, Raw: 6}}}, Merged: []Merged{{Name: "merged", Pieces: data}},
		Tensors: []Tensor{{Name: "x", Kind: Preimages, Data: data, Blocks: sizes}}}
	if change != nil {
		change(h)
	}
	if err := w.Finish(h); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(b []byte) (*Reader, error) { return NewReader(bytes.NewReader(b), int64(len(b)), "r") }

// TestReader opens a sound record and reads its parts.
func TestReader(t *testing.T) {
	b := sample(t, nil)
	r, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Inflate(r.Base.Shards[0].Header, 6); err != nil || string(got) != "header" {
		t.Errorf("header %q, %v", got, err)
	}
	table, err := r.Table(r.Tensors[0], 2)
	if err != nil || table[1]-table[0] != 1 || table[2]-table[1] != 2 {
		t.Errorf("table %v, %v", table, err)
	}
	for n := range 4 {
		if _, err := r.Table(r.Tensors[0], n); n != 2 && !broken(err, "RC009") {
			t.Errorf("table of %d blocks: %v", n, err)
		}
	}
	for _, size := range []int64{0, 5, 7, 1 << 40, -1} {
		if _, err := r.Inflate(r.Base.Shards[0].Header, size); !broken(err, "RC005") && !broken(err, "RC008") {
			t.Errorf("header of %d bytes: %v", size, err)
		}
	}
}

func broken(err error, id rule.ID) bool {
	e, ok := errors.AsType[*rule.Error](err)
	return ok && e.Rule == id
}

// TestHostileHeads refuses heads that lie, though their digest is right.
func TestHostileHeads(t *testing.T) {
	for name, c := range map[string]struct {
		rule   rule.ID
		change func(h *Head)
	}{
		"blob beyond the end":  {"RC007", func(h *Head) { h.Tensors[0].Data.Len = 1 << 60 }},
		"blob that overflows":  {"RC007", func(h *Head) { h.Tensors[0].Data = Blob{math.MaxInt64, math.MaxInt64} }},
		"negative blob":        {"RC007", func(h *Head) { h.Tensors[0].Data.Len = -1 }},
		"blob before the file": {"RC007", func(h *Head) { h.Merged[0].Pieces.At = -8 }},
		"gains beyond the end": {"RC007", func(h *Head) { h.Tensors[0].Gains = &Blob{8, 1 << 50} }},
		"unknown kind":         {"RC006", func(h *Head) { h.Tensors[0].Kind = "other" }},
		"tensor twice":         {"RC006", func(h *Head) { h.Tensors = append(h.Tensors, h.Tensors[0]) }},
		"huge radius":          {"RC006", func(h *Head) { h.Tensors[0].Radius = 61 }},
		"no shards":            {"RC006", func(h *Head) { h.Base.Shards = nil }},
		"rounding":             {"RC006", func(h *Head) { h.Rounding = "up" }},
		"path out":             {"RC006", func(h *Head) { h.Base.Shards[0].Name = "../base" }},
		"absolute path":        {"RC006", func(h *Head) { h.Base.Files = []File{{Name: "/etc/passwd"}} }},
		"name twice":           {"RC006", func(h *Head) { h.Base.Files = []File{{Name: "base"}} }},
		"empty name":           {"RC006", func(h *Head) { h.Merged[0].Name = "" }},
	} {
		if _, err := open(sample(t, c.change)); !broken(err, c.rule) {
			t.Errorf("%s: got %v, want %s", name, err, c.rule)
		}
	}
	if _, err := open(sample(t, func(h *Head) { h.Version = 2 })); !errors.Is(err, rule.ErrUnsupported) {
		t.Errorf("version 2: %v", err)
	}
}

// TestDamagedRecords refuses every flipped bit and every cut.
func TestDamagedRecords(t *testing.T) {
	b := sample(t, nil)
	for bit := range 8 * len(b) {
		c := bytes.Clone(b)
		c[bit/8] ^= 1 << (bit % 8)
		if _, err := open(c); !broken(err, "RC001") && !broken(err, "RC002") {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	for n := range len(b) {
		if _, err := open(b[:n]); !broken(err, "RC001") && !broken(err, "RC002") {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// resign puts a head and a right digest behind blobs.
func resign(body, head []byte, raw uint64) []byte {
	b := bytes.Clone(body)
	at := uint64(len(b))
	b = append(b, head...)
	for _, n := range []uint64{at, uint64(len(head)), raw} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// FuzzHead reads heads that are signed rightly.
func FuzzHead(f *testing.F) {
	h, err := json.Marshal(Head{Version: 1, Rounding: "nearest"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(h))
	f.Add(`{"version":1,"version":2}`)
	f.Add(`{"version":1,"other":2}`)
	f.Add(strings.Repeat("[", 1000))
	w, err := NewWriter(&bytes.Buffer{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, head string) {
		b := resign([]byte(magic), w.zstd.EncodeAll([]byte(head), nil), uint64(len(head)))
		r, err := open(b)
		if err == nil && len(r.Tensors)+len(r.Merged) > len(head) {
			t.Error("more than there is")
		}
	})
}

// FuzzPlanes decodes anything without a panic.
func FuzzPlanes(f *testing.F) {
	var c PlaneCoder
	f.Add(c.Encode(nil, bytes.Repeat([]byte{1, 2, 3, 60}, 500), 2), 2, 2000)
	f.Add([]byte{2, 3, 0, 0, 0}, 1, 10)
	f.Fuzz(func(t *testing.T, code []byte, width, n int) {
		if width < 1 || width > 8 || n < 0 || n > VerbatimBytes {
			return
		}
		dst := make([]byte, n)
		var c PlaneCoder
		if c.Decode(dst, code, width) != nil {
			return
		}
		again := make([]byte, n)
		if err := c.Decode(again, c.Encode(nil, dst, width), width); err != nil || !bytes.Equal(again, dst) {
			t.Errorf("decoded bytes do not come back: %v", err)
		}
	})
}
