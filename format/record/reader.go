package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/strictjson"
)

// A Reader reads a record. It is safe for concurrent use.
type Reader struct {
	Head
	file string
	src  io.ReaderAt
	end  int64 // of the blobs
}

// NewReader checks a record of the given size: its digest, its head and where
// its blobs are. The name of the file is for messages. A broken rule is a
// *rule.Error.
func NewReader(src io.ReaderAt, size int64, file string) (*Reader, error) {
	r := &Reader{file: file, src: src}
	if size < int64(len(magic))+trailerSize {
		return nil, fault("RC001", file, "", "%d bytes are no record", size)
	}
	var begin [len(magic)]byte
	if _, err := src.ReadAt(begin[:], 0); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if string(begin[:]) != magic {
		return nil, fault("RC001", file, "", "it begins with %q", begin[:])
	}
	var trailer [trailerSize]byte
	if _, err := src.ReadAt(trailer[:], size-trailerSize); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := r.checkDigest(size, trailer[24:]); err != nil {
		return nil, err
	}
	at, n, raw := binary.LittleEndian.Uint64(trailer[:]), binary.LittleEndian.Uint64(trailer[8:]), binary.LittleEndian.Uint64(trailer[16:])
	limit := uint64(size - trailerSize)
	if at < uint64(len(magic)) || at > limit || n != limit-at {
		return nil, fault("RC003", file, "", "head at %d of %d bytes, the record has %d", at, n, size)
	}
	r.end = int64(at)
	if raw > MaxHead {
		return nil, fault("RC005", file, "", "head of %d bytes, at most %d are allowed", raw, MaxHead)
	}
	head, err := r.inflate(Blob{int64(at), int64(n)}, int64(raw))
	if err != nil {
		return nil, err
	}
	return r, r.parse(head)
}

// checkDigest compares the SHA-256 at the end with that of everything before.
func (r *Reader) checkDigest(size int64, want []byte) error {
	h := sha256.New()
	body := io.NewSectionReader(r.src, 0, size-sha256.Size)
	if _, err := io.CopyBuffer(h, body, make([]byte, 1<<20)); err != nil {
		return fmt.Errorf("%s: %w", r.file, err)
	}
	if !bytes.Equal(h.Sum(nil), want) {
		return fault("RC002", r.file, "", "SHA-256 is %s, the record says %s", hex.EncodeToString(h.Sum(nil)), hex.EncodeToString(want))
	}
	return nil
}

func (r *Reader) parse(head []byte) error {
	v, err := (strictjson.Limits{}).Decode(head)
	if err == nil {
		err = exactNames(v)
	}
	if err != nil {
		return fault("RC004", r.file, "", "%w", err)
	}
	d := json.NewDecoder(bytes.NewReader(head))
	d.DisallowUnknownFields()
	if err := d.Decode(&r.Head); err != nil {
		return fault("RC004", r.file, "", "%w", err)
	}
	return r.Head.check(r.file, r.end)
}

// names are the members of the head's objects.
var names = func() map[string]bool {
	all := map[string]bool{}
	for _, t := range []reflect.Type{reflect.TypeFor[Head](), reflect.TypeFor[Adapter](), reflect.TypeFor[File](), reflect.TypeFor[Base](),
		reflect.TypeFor[Shard](), reflect.TypeFor[Merged](), reflect.TypeFor[Tensor](), reflect.TypeFor[Blob]()} {
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			all[name] = true
		}
	}
	return all
}()

// exactNames refuses members that encoding/json would take for known ones in
// other letter cases.
func exactNames(v strictjson.Value) error {
	for _, m := range v.Members {
		if !names[m.Name] {
			return fmt.Errorf("unknown member %q", m.Name)
		}
		if err := exactNames(m.Value); err != nil {
			return err
		}
	}
	for _, e := range v.Elements {
		if err := exactNames(e); err != nil {
			return err
		}
	}
	return nil
}

// Path returns the name of the file that was given to NewReader.
func (r *Reader) Path() string { return r.file }

// Read returns the bytes of a blob. The blob is one of the head, or lies
// within one: it is within the file, so no more is allocated than is there.
func (r *Reader) Read(b Blob) ([]byte, error) {
	out := make([]byte, b.Len)
	if _, err := r.src.ReadAt(out, b.At); err != nil {
		return nil, fmt.Errorf("%s: %w", r.file, err)
	}
	return out, nil
}

// Inflate returns what PutCompressed wrote, which must have size bytes.
func (r *Reader) Inflate(b Blob, size int64) ([]byte, error) { return r.inflate(b, size) }

// expansion bounds how much larger than its frame a blob may claim to be, so
// that a small record cannot ask for much memory.
const expansion = 1 << 14

// maxWindow is the largest window of a frame.
const maxWindow = 16 << 20

func (r *Reader) inflate(b Blob, size int64) ([]byte, error) {
	if size < 0 || size > math.MaxInt32 || size/expansion > b.Len {
		return nil, fault("RC005", r.file, "", "%d bytes in a frame of %d", size, b.Len)
	}
	frame, err := r.Read(b)
	if err != nil {
		return nil, err
	}
	// The output is limited to its capacity; a window may be larger than that.
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(size, maxWindow))),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	if n, ok := frameLength(frame); !ok || n != len(frame) {
		return nil, fault("RC008", r.file, "", "a blob of %d bytes is not one zstd frame", len(frame))
	}
	out, err := z.DecodeAll(frame, make([]byte, 0, size))
	if err != nil {
		return nil, fault("RC008", r.file, "", "zstd: %w", err)
	}
	if int64(len(out)) != size {
		return nil, fault("RC008", r.file, "", "frame of %d bytes, the head says %d", len(out), size)
	}
	return out, nil
}

// A Table tells where the blocks of a tensor are: block i is from offset i to
// offset i+1.
type Table []int64

// Table reads the sizes of the blocks of a tensor, of which there must be n.
func (r *Reader) Table(t Tensor, n int) (Table, error) {
	// Every size takes a byte at least.
	if int64(n) > t.Blocks.Len {
		return nil, fault("RC009", r.file, t.Name, "%d bytes of block sizes for %d blocks", t.Blocks.Len, n)
	}
	raw, err := r.Read(t.Blocks)
	if err != nil {
		return nil, err
	}
	table, at := make(Table, n+1), t.Data.At
	for i := range n {
		size, used := binary.Uvarint(raw)
		if used <= 0 || size > uint64(t.Data.At+t.Data.Len-at) {
			return nil, fault("RC009", r.file, t.Name, "block %d is beyond its data", i)
		}
		raw = raw[used:]
		table[i] = at
		at += int64(size)
	}
	table[n] = at
	if len(raw) > 0 || at != t.Data.At+t.Data.Len {
		return nil, fault("RC009", r.file, t.Name, "%d blocks have %d bytes, the data %d", n, at-t.Data.At, t.Data.Len)
	}
	return table, nil
}

// Fault is an error of a rule about one tensor of this record.
func (r *Reader) Fault(id rule.ID, tensor, format string, args ...any) error {
	return fault(id, r.file, tensor, format, args...)
}
