// Package atomicfile replaces a file as a whole: under its name there is at any
// moment, whatever crashes, either all of the old content or all of the new.
//
// The new content goes to a temporary file beside it that is born with its final
// mode, is synced, and takes the name by a rename; then the folder is synced.
// With Over the rename is a compare and swap: somebody else's edit that came in
// between is put back and reported, not overwritten.
//
// Every file is named by a folder that is open already and a plain name in it,
// and no symbolic link is followed, so a folder that belongs to a hostile user
// can neither redirect a read or write nor make one wait.
package atomicfile
