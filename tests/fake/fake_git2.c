/* SPDX-License-Identifier: MIT */
/*
** Stands before libgit2, which Criterion opens in the process of every case to draw differences,
** and with it TLS, Kerberos and SSH: two thirds of such a process's time went there, half of that
** to reading the certificates of all authorities.  No assertion of ours draws one.
*/
int git_libgit2_init(void);
int git_libgit2_shutdown(void);
int git_diff_buffers(void);

int git_libgit2_init(void) { return 1; }
int git_libgit2_shutdown(void) { return 0; }
int git_diff_buffers(void) { return -1; }
