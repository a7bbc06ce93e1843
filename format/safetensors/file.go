package safetensors

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/mmap"
)

// ErrChanged is wrapped by the error of Unchanged.
var ErrChanged = errors.New("file changed while it was in use")

// A File is an open safetensors file, mapped read-only. It is safe for
// concurrent use until Close.
type File struct {
	path   string
	info   fs.FileInfo // at open
	header *Header
	data   *mmap.Map
}

// Open opens and checks a file. A broken rule is a *rule.Error.
func Open(path string) (*File, error) { return Check(path, rule.Stop) }

// Check is Open for those who want every broken rule, see CheckHeader. It
// returns nil without an error if there was one: such a file is not mapped.
func Check(path string, report rule.Report) (*File, error) {
	f, info, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	broken := false
	h, err := CheckHeader(f, info.Size(), path, func(e *rule.Error) error {
		broken = true
		return report(e)
	})
	if err != nil || broken {
		return nil, err
	}
	m, err := mmap.Open(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{path: path, info: info, header: h, data: m}, nil
}

// OpenRegular opens a file for reading. What is no regular file is refused
// with ST033 before it is opened: opening a device may act on it. Should the
// path change in between, O_NONBLOCK keeps a pipe from hanging us until fstat
// tells.
func OpenRegular(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if err := wantRegular(path, info.Mode()); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err = f.Stat()
	if err == nil {
		err = wantRegular(path, info.Mode())
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// ReadRegular reads a small file whole, with OpenRegular. One of more than most
// bytes is a *rule.Unsupported.
func ReadRegular(path string, most int64) ([]byte, error) {
	f, info, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var data []byte
	if info.Size() <= most {
		data, err = io.ReadAll(io.LimitReader(f, most+1)) // it may grow
	}
	if err == nil && max(info.Size(), int64(len(data))) > most {
		return nil, &rule.Unsupported{File: path, What: fmt.Sprintf("a file of more than %d bytes", most)}
	}
	return data, err
}

func wantRegular(path string, m fs.FileMode) error {
	if m.IsRegular() {
		return nil
	}
	return &rule.Error{File: path, Rule: "ST033", Err: fmt.Errorf("%s, expected a regular file", describe(m)), Hint: rule.Cure("ST033")}
}

func describe(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}

// Header returns the header.
func (f *File) Header() *Header { return f.header }

// Path returns the path that the file was opened by.
func (f *File) Path() string { return f.path }

// Size returns the size of the file in bytes.
func (f *File) Size() int64 { return f.info.Size() }

// Info returns what the file system said of the file when it was opened.
func (f *File) Info() fs.FileInfo { return f.info }

// ModTime returns when the file was last written before it was opened.
func (f *File) ModTime() time.Time { return f.info.ModTime() }

// Bytes returns the bytes of a tensor of this file, a view of the mapping
// that is valid until Close. Read it under mmap.Guard.
func (f *File) Bytes(t Tensor) []byte {
	start := f.header.DataStart()
	return f.data.Data[start+t.Begin : start+t.End : start+t.End]
}

// Release says that bytes [from, to) of a tensor will hardly be read again.
func (f *File) Release(t Tensor, from, to int64) {
	start := f.header.DataStart() + t.Begin
	f.data.Release(start+from, start+to)
}

// Mapped returns all bytes of the file, a view as that of Bytes.
func (f *File) Mapped() []byte { return f.data.Data }

// Unchanged returns an error that wraps ErrChanged if the path now leads to
// another file or the file was written since it was opened.
func (f *File) Unchanged() error {
	now, err := os.Stat(f.path)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w: %w", f.path, ErrChanged, err)
	case !os.SameFile(f.info, now):
		return fmt.Errorf("%s: %w: another file is there now", f.path, ErrChanged)
	case now.Size() != f.info.Size():
		return fmt.Errorf("%s: %w: it has %d bytes, it had %d", f.path, ErrChanged, now.Size(), f.info.Size())
	case !now.ModTime().Equal(f.info.ModTime()):
		return fmt.Errorf("%s: %w: it was written at %s", f.path, ErrChanged, now.ModTime().Format(time.RFC3339Nano))
	}
	return nil
}

// CheckBools reads the BOOL tensors and warns of bytes other than 0 and 1:
// ST028. An error means that the file could not be read.
func (f *File) CheckBools() (warnings []*rule.Error, err error) {
	err = mmap.Guard(func() {
		for _, t := range f.header.tensors {
			if t.DType != dtype.BOOL {
				continue
			}
			for i, b := range f.Bytes(t) {
				if b > 1 {
					warnings = append(warnings, &rule.Error{File: f.path, Tensor: t.Name, Rule: "ST028",
						Err: fmt.Errorf("BOOL element %d is 0x%02X, expected 0 or 1", i, b)})
					break
				}
			}
		}
	})
	return warnings, err
}

// Close ends the mapping. Views of it must not be used any more.
func (f *File) Close() error { return f.data.Close() }
