/* policy.h - a namespace's rules: what each is if nobody set it, in which range it may be set, and why it's that.
 *
 * Times in ms of cluster time. In a policy that's set, a field left at 0 takes its default; where 0 is called off, 0 is off.
 *
 * Weights are the points of the best value over those of an unknown one; the worst costs as many (score.c has the parts).
 * A visible, plugged-in desktop on ethernet gets about 900, a phone on 3G with 10 % of battery about -100.
 * What decides for browsers: a hidden page is throttled after a minute and on Android frozen, so visibility comes first; what
 * the relay measured (rtt) comes before what a page says of itself; priority is the application's own wish, and outweighs
 * any two of the others. */
#ifndef SESSION_POLICY_H
#define SESSION_POLICY_H

#define POLICY_WEIGHT_MAX 1000

#define POLICY_WEIGHT_VISIBLE  300
#define POLICY_WEIGHT_RTT      200
#define POLICY_WEIGHT_KIND     150
#define POLICY_WEIGHT_NETWORK  150
#define POLICY_WEIGHT_CHARGING 100
#define POLICY_WEIGHT_BATTERY  100
#define POLICY_WEIGHT_CORES    20
#define POLICY_WEIGHT_MEMORY   20
#define POLICY_WEIGHT_PRIORITY 500

/* Points by which a challenger must lead. Above the largest step that noise makes: one step of rtt is 50, of battery 10.
 * Below what matters: hiding a page is 600, pulling the plug 200, ethernet to 4G 150. 1 to 20,000. */
#define POLICY_MARGIN 100

/* Nobody is challenged before having held for this long: with tabs that are shown and hidden every half second, ten
 * seconds of it move the baton at most twice. 100 ms to a day. */
#define POLICY_MIN_TENURE_MS 10000

/* One who resigned, declined or let an offer lapse isn't chosen for this long, not even if the scope stands empty for it: a tab
 * that resigns because it's being frozen would only get the baton back. 1 s to a day. */
#define POLICY_COOLDOWN_MS 30000

/* Rotation: after holding for this long the baton is offered to the next eligible one in a ring ordered by session id, whatever
 * the scores; while it's on, better challengers don't move the baton. 0, the default, is off; 1 s to 30 days, and at least
 * the minimum tenure. */
#define POLICY_MAX_TENURE_MS 0

/* A page answers an offer within a few ms even while throttled: it's the network that needs the time. 100 ms to a minute. */
#define POLICY_OFFER_MS 2000

/* Longer than an offer: the holder has work in flight to end and a state to write. 100 ms to a minute. */
#define POLICY_YIELD_MS 3000

/* A relay's browsers reconnect with jitter over up to 20 s, and a new relay may have to start first. 1 s to a day. */
#define POLICY_SESSION_GRACE_MS 30000

/* Long enough to reach another relay at the first try, short enough not to leave the work undone. 100 ms to a day, at most the
 * session's grace. */
#define POLICY_HOLDER_GRACE_MS 5000

/* The breaker: this many moves to better challengers within the window, and for a while there are no more. Successions, hand-offs by
 * name and demotions aren't counted and aren't stopped. 0 is off; to 1,000. Window and pause 1 s to a day. */
#define POLICY_BREAKER_MOVES     6
#define POLICY_BREAKER_WINDOW_MS 300000
#define POLICY_BREAKER_OPEN_MS   300000

/* Demotion is on: a frozen page looks alive to everything but the echo through its JavaScript. The relay reports the age of the
 * oldest unanswered ping as rtt once it's longer; at 2,048 ms the session counts as slow (rtts are rounded down to powers of
 * two), and 1.5 s later it's demoted: with a ping every 2 s, within 6 s of the freeze. `after` 0 is off; to an hour. It counts as
 * responsive again below the clearing rtt, and ranks behind everybody else for a minute at least. */
#define POLICY_DEMOTE_RTT_MS       2000
#define POLICY_DEMOTE_AFTER_MS     1500
#define POLICY_DEMOTE_CLEAR_RTT_MS 500
#define POLICY_DEMOTE_FOR_MS       60000

/* Limits. The cluster's own (SetLimits) are reached first by default; a device's tabs and a group's devices are walked when a
 * holder falls, so their numbers bound the work of one entry. */
#define POLICY_SESSIONS_MAX           2000000
#define POLICY_SESSIONS_PER_LEASE_MAX 1000000
#define POLICY_DEVICES_PER_GROUP_MAX  65536
#define POLICY_TABS_PER_DEVICE_MAX    1024
#define POLICY_STATE_BYTES_MAX        65536

/* A state handed over is kept for its new holder for this long, or until the next grant: not a setting. */
#define STATE_KEEP_MS 60000

#endif
