//! What is done around a fork of the process. A child has the thread that forked and no other, and
//! whatever lock another thread held stays locked there.

/// A hook; it must do no more than a child of a process with threads may.
pub type Hook = extern "C" fn();

/// Has hooks run around each later fork: before it, and after it in the parent and in the child, all
/// on the thread that forks. They are called for the life of the process: register each once.
pub fn at_fork(before: Option<Hook>, parent: Option<Hook>, child: Option<Hook>) {
    #[cfg(unix)]
    {
        unsafe extern "C" {
            fn pthread_atfork(
                before: Option<Hook>,
                parent: Option<Hook>,
                child: Option<Hook>,
            ) -> std::ffi::c_int;
        }
        // SAFETY: the hooks are functions, which live as long as the process.
        let rc = unsafe { pthread_atfork(before, parent, child) };
        debug_assert_eq!(rc, 0);
    }
    #[cfg(not(unix))]
    let _ = (before, parent, child);
}
