"""What a run or a leaderboard says, in sentences that stand the same wherever something is said."""
