package publish

import "os"

// A Scratch is a folder for work that leaves nothing behind. If the process is
// killed, the next output beside the folder sweeps it.
type Scratch struct {
	disk disk
	path string
	lock *os.File
}

// CreateScratch makes an empty folder under a temporary name in parent. The
// caller ends with Remove.
func CreateScratch(parent string) (*Scratch, error) {
	s := &Scratch{}
	var err error
	if s.path, s.lock, err = newTemp(s.disk, parent, s.disk.mkdir); err != nil {
		return nil, err
	}
	return s, nil
}

// Path returns the path of the folder.
func (s *Scratch) Path() string { return s.path }

// Remove removes the folder with all it holds.
func (s *Scratch) Remove() {
	s.disk.removeAll(s.path) // best effort: the next run sweeps it
	closeLock(s.lock)
	s.lock = nil
}
