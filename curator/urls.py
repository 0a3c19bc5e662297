"""Every URL of the project."""

from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_not_required
from django.urls import include, path
from django.views.generic import RedirectView

from curator import views
from curator.api import api

handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler500 = views.broken

urlpatterns = [
    path("", include("annotations.urls")),  # first: datasets/new/ is no dataset called “new”
    path("", include("scoring.urls")),
    path("api/", api.urls),
    path(
        "sign-in/",
        auth_views.LoginView.as_view(
            template_name="registration/sign_in.html", redirect_authenticated_user=True
        ),
        name="sign-in",
    ),
    path("sign-in/<str:mark>/<str:token>/", views.sign_in_link, name="sign-in-link"),
    path("sign-out/", auth_views.LogoutView.as_view(), name="sign-out"),
    path("machinery/", views.machinery, name="machinery"),
    path("health/", views.health, name="health"),
    path(
        "favicon.ico",
        login_not_required(RedirectView.as_view(url="/static/curator/icon.svg", permanent=True)),
        name="favicon",
    ),
]
