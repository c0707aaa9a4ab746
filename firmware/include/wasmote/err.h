/* err.h: the one set of error codes. A function returns >= 0 or one of these. */
#ifndef WASMOTE_ERR_H
#define WASMOTE_ERR_H

enum wm_err {
    WM_OK              = 0,
    WM_ERR_ARG         = -1,  /* a value from outside is out of range */
    WM_ERR_MALFORMED   = -2,  /* bytes do not follow their format */
    WM_ERR_TRUNCATED   = -3,  /* bytes end too early */
    WM_ERR_NOSPACE     = -4,  /* a caller's buffer or a fixed table is full */
    WM_ERR_NOMEM       = -5,  /* the function pool cannot hold it now */
    WM_ERR_NOTFOUND    = -6,
    WM_ERR_EXISTS      = -7,
    WM_ERR_STATE       = -8,  /* not now, not in this order */
    WM_ERR_BUSY        = -9,  /* try again later */
    WM_ERR_UNSUPPORTED = -10, /* well formed, but not for this node */
    WM_ERR_TRAP        = -11, /* a function was ended; the trap record says how */
    WM_ERR_IO          = -12, /* a link or the flash failed */
    WM_ERR_TIMEOUT     = -13,
    WM_ERR_RESET       = -14, /* the peer rejected the message (RST) */
};

#endif
