// Package bench holds latchkey's performance goals. Each benchmark reports its
// figure beside the goal, or beside a peer measured in the same run, and says
// what limits it; none of them fails by the clock.
//
// The machines that they run on are overlays on a tmpfs, where fsync(2) costs
// nothing: the figures are apart from what a disk takes for it.
package bench
